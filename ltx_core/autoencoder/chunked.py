"""The video VAE over time chunks with carried state: equal to the whole pass to rounding, at every length.

A walk over diffusers' own sub-modules, with state that lives as long as one clip; the modules are not touched.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from diffusers.models.autoencoders import autoencoder_kl_ltx2 as ltx2
from torch import Tensor, nn

from ltx_core.autoencoder.carry import ConvCarry, OutputCarry, ResnetCarry, Stage, Step
from ltx_core.autoencoder.resampling import DownsampleCarry, UpsampleCarry, fold, unfold
from ltx_core.errors import ConfigError
from ltx_core.shapes import TIME_STRIDE

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
    patch = decoder.patch_size
    return [*stages, Stage(_then(OutputCarry(decoder, causal=causal).step, lambda out: _unpatched(out, patch)), frames)]


def _resnets(block: Any, most_frames: int, *, causal: bool) -> list[Stage]:
    return [Stage(ResnetCarry(resnet, causal=causal).step, most_frames) for resnet in block.resnets]


def _patched(encoder: Any) -> Step:
    """The first convolution, over patches. A patch's channels are colour, column, row: against `fold`'s order."""
    conv, patch = ConvCarry(encoder.conv_in, causal=True), encoder.patch_size

    def step(frames: Tensor, last: bool) -> Tensor | None:
        return conv.step(fold(frames.transpose(3, 4), (1, patch, patch)).transpose(3, 4), last)

    return step


def _unpatched(frames: Tensor, patch: int) -> Tensor:
    return unfold(frames.transpose(3, 4), (1, patch, patch)).transpose(3, 4)


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
