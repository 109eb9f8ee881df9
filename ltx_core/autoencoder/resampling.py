"""The video VAE's changes of resolution over a clip that comes in pieces; see `ltx_core.autoencoder.carry`."""

import math
from typing import Any

import torch
from torch import Tensor

from ltx_core.autoencoder.carry import ConvCarry, Waiting


def fold(frames: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """[B, C, F, H, W] to [B, C * stride, F / time, H / high, W / wide]; a place's channels are C, time, high, wide."""
    time, high, wide = stride
    cells = frames.unflatten(4, (-1, wide)).unflatten(3, (-1, high)).unflatten(2, (-1, time))
    return cells.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


def unfold(frames: Tensor, stride: tuple[int, int, int]) -> Tensor:
    """The inverse of `fold`."""
    cells = frames.unflatten(1, (-1, *stride))
    return cells.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)


class DownsampleCarry:
    """Halves time, space or both of a causal encoder, with channel means as the residual.

    The clip's first frames are repeated so that they fill a group alone; every piece must end where a group does.
    """

    def __init__(self, layer: Any) -> None:
        self.stride: tuple[int, int, int] = tuple(layer.stride)
        self.group_size: int = layer.group_size
        self.conv = ConvCarry(layer.conv, causal=True)
        self.repeated = self.stride[0] - 1

    def step(self, frames: Tensor, last: bool) -> Tensor | None:
        if self.repeated:
            frames, self.repeated = torch.cat([frames[:, :, : self.repeated], frames], dim=2), 0
        hidden = self.conv.step(frames, last)
        if hidden is None:
            return None
        means = fold(frames, self.stride).unflatten(1, (-1, self.group_size)).mean(dim=2)
        del frames
        return fold(hidden, self.stride).add_(means)


class UpsampleCarry:
    """Doubles time, space or both, with or without the unfolded input as a residual; drops the first frames' copies."""

    def __init__(self, layer: Any, *, causal: bool) -> None:
        self.stride: tuple[int, int, int] = tuple(layer.stride)
        self.repeats: int = math.prod(self.stride) // layer.upscale_factor
        self.conv = ConvCarry(layer.conv, causal=causal)
        self.waiting = Waiting() if layer.residual else None
        self.surplus = self.stride[0] - 1

    def step(self, frames: Tensor, last: bool) -> Tensor | None:
        if self.waiting is not None:
            self.waiting.put(frames)
        hidden = self.conv.step(frames, last)
        if hidden is None:
            return None
        num_frames = hidden.shape[2]
        hidden = unfold(hidden, self.stride)
        if self.waiting is not None:
            beside = unfold(self.waiting.take(num_frames), self.stride)
            hidden.add_(beside.repeat(1, self.repeats, 1, 1, 1))
        surplus, self.surplus = self.surplus, 0
        return hidden[:, :, surplus:]
