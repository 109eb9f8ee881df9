"""The video VAE's layers over a clip that comes in pieces: each keeps the frames that its next piece needs.

A piece is a tensor [B, C, n, H, W] with n > 0 frames; `last` says that none follows. Put together, what a layer gives
for the pieces is what it gives for the whole clip: nothing in this VAE looks along time but its convolutions, and
norms are taken over the channels of one place. Layers that see the future give their frames late, so a step may give
nothing yet (None) and more frames than it got at the end.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Step(Protocol):
    """One layer, or some that belong together. Bound methods fit; an object that is called would hold its argument."""

    def __call__(self, frames: Tensor, last: bool, /) -> Tensor | None:
        """What can be said now that these frames are known."""


class Stage(NamedTuple):
    """A step, and how many frames the next one shall get at most."""

    step: Step
    most_frames: int


class ConvCarry:
    """One convolution: keeps the last k - 1 frames it was given, k being its kernel's length in time.

    The clip's first frame is repeated before it, k - 1 times if causal; otherwise its first and its last frame,
    (k - 1) / 2 times each.
    """

    def __init__(self, layer: Any, *, causal: bool) -> None:
        self.conv = layer.conv
        self.kernel: int = layer.kernel_size[0]
        self.left = self.kernel - 1 if causal else (self.kernel - 1) // 2
        self.right = self.kernel - 1 - self.left
        self.kept: Tensor | None = None

    def step(self, frames: Tensor, last: bool) -> Tensor | None:
        before = frames[:, :, :1].repeat(1, 1, self.left, 1, 1) if self.kept is None else self.kept
        after = frames[:, :, -1:].repeat(1, 1, self.right if last else 0, 1, 1)
        frames = torch.cat([before, frames, after], dim=2)
        num_frames = frames.shape[2]
        # A copy: a view would hold the whole piece in memory.
        self.kept = None if last else frames[:, :, max(num_frames - self.kernel + 1, 0) :].clone()
        return self.conv(frames) if num_frames >= self.kernel else None


class Waiting:
    """Frames that wait until a path beside theirs, which is late, has caught up."""

    def __init__(self) -> None:
        self.pieces: list[Tensor] = []

    def put(self, frames: Tensor) -> None:
        self.pieces.append(frames)

    def take(self, num_frames: int) -> Tensor:
        """The first `num_frames`, which must be there."""
        frames = self.pieces[0] if len(self.pieces) == 1 else torch.cat(self.pieces, dim=2)
        if frames.shape[2] < num_frames:
            raise RuntimeError(f"{num_frames} frames are wanted and {frames.shape[2]} wait here; this is a bug")
        self.pieces = [frames[:, :, num_frames:].clone()] if frames.shape[2] > num_frames else []
        return frames[:, :, :num_frames]


class ResnetCarry:
    """A residual block: two convolutions, and the input beside them."""

    def __init__(self, block: Any, *, causal: bool) -> None:
        self.block = block
        self.first, self.second = ConvCarry(block.conv1, causal=causal), ConvCarry(block.conv2, causal=causal)
        self.waiting = Waiting()

    def step(self, frames: Tensor, last: bool) -> Tensor | None:
        block = self.block
        self.waiting.put(frames)
        hidden = self.first.step(block.nonlinearity(block.norm1(frames)), last)
        if hidden is None:
            return None
        hidden = self.second.step(block.dropout(block.nonlinearity(block.norm2(hidden))), last)
        if hidden is None:
            return None
        return hidden.add_(self._shortcut(self.waiting.take(hidden.shape[2])))

    def _shortcut(self, frames: Tensor) -> Tensor:
        if self.block.norm3 is not None:
            frames = self.block.norm3(frames.movedim(1, -1)).movedim(-1, 1)
        return frames if self.block.conv_shortcut is None else self.block.conv_shortcut(frames)


class OutputCarry:
    """The last norm, activation and convolution of the encoder or the decoder."""

    def __init__(self, network: Any, *, causal: bool) -> None:
        self.norm, self.activation = network.norm_out, network.conv_act
        self.conv = ConvCarry(network.conv_out, causal=causal)

    def step(self, frames: Tensor, last: bool) -> Tensor | None:
        return self.conv.step(self.activation(self.norm(frames)), last)
