"""The video VAE over time chunks with carried state: equal to the whole pass to rounding, at every length.

A walk over diffusers' own sub-modules, with state that lives as long as one clip; the modules are not touched.

A piece is a tensor [B, C, n, H, W] with n > 0 frames; `last` says that none follows. Put together, what a layer gives
for the pieces is what it gives for the whole clip: nothing in this VAE looks along time but its convolutions, and
norms are taken over the channels of one place. Layers that see the future give their frames late, so a step may give
nothing yet (None) and more frames than it got at the end.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from diffusers.models.autoencoders import autoencoder_kl_ltx2 as ltx2
from torch import Tensor, nn

from ltx_core.errors import ConfigError
from ltx_core.shapes import TIME_STRIDE


class Step(Protocol):
    """One layer, or some that belong together. Bound methods fit; an object that is called would hold its argument."""

    def __call__(self, frames: Tensor, last: bool, /) -> Tensor | None:
        """Return what can be said now that these frames are known."""


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


WALKED = (
    ltx2.LTX2VideoEncoder3d,
    ltx2.LTX2VideoDecoder3d,
    ltx2.LTX2VideoDownBlock3D,
    ltx2.LTX2VideoMidBlock3d,
    ltx2.LTX2VideoUpBlock3d,
    ltx2.LTX2VideoResnetBlock3d,
    ltx2.LTX2VideoDownsampler3d,
    ltx2.LTX2VideoUpsampler3d,
    ltx2.LTX2VideoCausalConv3d,
    ltx2.PerChannelRMSNorm,
    nn.LayerNorm,
    nn.Conv3d,
    nn.SiLU,
    nn.Dropout,
    nn.ModuleList,
)
"""Modules that the walk knows. A norm over frames or an attention among them would make chunks inexact."""


def encode_chunks(encoder: Any, pieces: Iterable[Tensor], num_frames: int, chunk_frames: int) -> Iterator[Tensor]:
    """Pixels [B, 3, n, H, W], cut as `pixel_spans` says, to the posterior's means [B, C, n', H', W'] in turn.

    Raises:
        ConfigError: chunks of this encoder would not equal the whole.
    """
    stages = encoder_stages(encoder, chunk_frames)
    done = 0
    for piece in pieces:
        done += piece.shape[2]
        yield from run(stages, piece, last=done == num_frames)


def decode_chunks(decoder: Any, latents: Tensor, chunk_frames: int) -> Iterator[Tensor]:
    """Latents [B, C, F', H', W'] to pixels [B, 3, n, H, W] in turn.

    The decoder sees the future: pieces come late, and the last latent frames bring many.

    Raises:
        ConfigError: chunks of this decoder would not equal the whole.
    """
    stages = decoder_stages(decoder, chunk_frames)
    pieces = latents.split(chunk_frames, dim=2)
    for index, piece in enumerate(pieces):
        yield from run(stages, piece, last=index == len(pieces) - 1)


def pixel_spans(num_frames: int, chunk_frames: int) -> list[tuple[int, int]]:
    """Chunks of 8k+1 frames as [start, end): the first holds one frame for its first latent frame, then 8 for each."""
    ends = range(1 + TIME_STRIDE * (chunk_frames - 1), num_frames, TIME_STRIDE * chunk_frames)
    edges = [0, *ends, num_frames]
    return list(pairwise(edges))


def run(stages: Sequence[Stage], frames: Tensor, *, last: bool) -> Iterator[Tensor]:
    """Take one piece through all stages, as far as it goes.

    What comes out longer than the next stage shall get is cut, and each part taken to the end before the next one, so
    that the late frames of the last piece do not pile up.
    """
    waiting = [(0, frames, last)]
    del frames
    while waiting:
        index, piece, is_last = waiting.pop()
        if index == len(stages):
            yield piece
            continue
        result = stages[index].step(piece, is_last)
        del piece
        if result is None:
            continue
        parts = _cut(result, stages[index].most_frames)
        del result
        waiting.extend((index + 1, part, is_last and i == len(parts) - 1) for i, part in reversed([*enumerate(parts)]))
        del parts


def _cut(frames: Tensor, most_frames: int) -> list[Tensor]:
    if frames.shape[2] <= most_frames:
        return [frames]
    return [part.clone() for part in frames.split(most_frames, dim=2)]


def encoder_stages(encoder: Any, chunk_frames: int) -> list[Stage]:
    """The encoder's layers in order of execution, with empty state.

    Raises:
        ConfigError: it is not causal, or has parts that the walk does not know.
    """
    _check(encoder)
    if not encoder.is_causal:
        raise ConfigError("the video VAE's encoder is not causal; chunk_frames cannot be exact for it, leave it out")
    frames = chunk_frames * TIME_STRIDE
    stages = [Stage(_patched(encoder), frames)]
    for block in encoder.down_blocks:
        stages += _resnets(block, frames, causal=True)
        for layer in block.downsamplers or ():
            frames //= layer.stride[0]
            stages.append(Stage(DownsampleCarry(layer).step, frames))
    stages += _resnets(encoder.mid_block, frames, causal=True)
    means = encoder.conv_out.out_channels - 1  # its last channel is the variance that all share
    return [*stages, Stage(_then(OutputCarry(encoder, causal=True).step, lambda out: out[:, :means]), frames)]


def decoder_stages(decoder: Any, chunk_frames: int) -> list[Stage]:
    """The decoder's layers in order of execution, with empty state.

    Raises:
        ConfigError: it has parts that the walk does not know, or draws noise.
    """
    _check(decoder)
    causal, frames = bool(decoder.is_causal), chunk_frames
    stages = [Stage(ConvCarry(decoder.conv_in, causal=causal).step, frames)]
    stages += _resnets(decoder.mid_block, frames, causal=causal)
    for block in decoder.up_blocks:
        if block.conv_in is not None:
            stages.append(Stage(ResnetCarry(block.conv_in, causal=causal).step, frames))
        for layer in block.upsamplers or ():
            frames *= layer.stride[0]
            stages.append(Stage(UpsampleCarry(layer, causal=causal).step, frames))
        stages += _resnets(block, frames, causal=causal)
    patch = (1, decoder.patch_size, decoder.patch_size)

    def unpatched(out: Tensor) -> Tensor:
        return unfold(out.transpose(3, 4), patch).transpose(3, 4)

    return [*stages, Stage(_then(OutputCarry(decoder, causal=causal).step, unpatched), frames)]


def _resnets(block: Any, most_frames: int, *, causal: bool) -> list[Stage]:
    return [Stage(ResnetCarry(resnet, causal=causal).step, most_frames) for resnet in block.resnets]


def _patched(encoder: Any) -> Step:
    """The first convolution, over patches. A patch's channels are colour, column, row: against `fold`'s order."""
    conv, patch = ConvCarry(encoder.conv_in, causal=True), encoder.patch_size

    def step(frames: Tensor, last: bool) -> Tensor | None:
        return conv.step(fold(frames.transpose(3, 4), (1, patch, patch)).transpose(3, 4), last)

    return step


def _then(step: Step, change: Callable[[Tensor], Tensor]) -> Step:
    def both(frames: Tensor, last: bool) -> Tensor | None:
        result = step(frames, last)
        return None if result is None else change(result)

    return both


def _check(network: Any) -> None:
    """Refuse what the walk would leave out, or could not do in pieces."""
    unknown = {type(module).__name__ for module in network.modules() if type(module) not in WALKED}
    layers = [module for module in network.modules() if isinstance(module, ltx2.LTX2VideoCausalConv3d)]
    strange = {
        "a kind of layer: " + ", ".join(sorted(unknown)): unknown,
        "temporal patches": network.patch_size_t != 1,
        "convolutions that stride or dilate": any(
            layer.conv.stride != (1, 1, 1) or layer.conv.dilation != (1, 1, 1) for layer in layers
        ),
        "noise between its layers": any(
            getattr(module, "per_channel_scale1", None) is not None for module in network.modules()
        ),
    }
    if found := [what for what, is_there in strange.items() if is_there]:
        raise ConfigError(
            f"the video VAE has {'; '.join(found)}. Its chunks would not equal the whole: leave chunk_frames out"
        )
