"""Frames to normalised video latents and back, in the VAE's dtype with float32 at both ends."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLLTX2Video, LTX2VideoDiffusionDecoderModel
from torch import Tensor

from ltx_core.autoencoder.chunked import decode_chunks, encode_chunks, pixel_spans
from ltx_core.autoencoder.neighbourhood import NeighbourhoodProcessor
from ltx_core.errors import ShapeError
from ltx_core.memory.video_vae import WHOLE, VaeMemory, least_diffused
from ltx_core.shapes import SPACE_STRIDE, LatentShape, PixelShape

Span = tuple[int, int]
"""[start, end) in latent rows or columns."""


@dataclass(frozen=True)
class Scales:
    """Pixels a latent row or column, of what goes in and of what comes out: 32 or 1."""

    source: int
    result: int


ENCODING = Scales(SPACE_STRIDE, 1)
DECODING = Scales(1, SPACE_STRIDE)


@dataclass(frozen=True)
class Difference:
    """The distance of a tensor from the correct one."""

    most: float
    """Largest absolute difference of a value."""
    relative: float
    """Norm of the difference over the norm of what is right."""

    def __str__(self) -> str:
        return f"at most {self.most:.2e}, {self.relative:.2e} of the norm"


def difference(found: Tensor, right: Tensor) -> Difference:
    """Compare two tensors of one shape, in float32."""
    off = found.float() - right.float()
    return Difference(off.abs().max().item(), (off.norm() / right.float().norm()).item())


def in_tiles(source: Tensor, memory: VaeMemory, scales: Scales, work: Callable[[Tensor], Tensor]) -> Tensor:
    """`work` on each tile of `source` [B, C, F, H, W], blended into one float32 tensor.

    Each tile fades in and out linearly over what it shares with its neighbours; weights sum to one everywhere.
    """
    if memory.tile is None or max(source.shape[3:]) * SPACE_STRIDE // scales.source <= memory.tile:
        return work(source)
    edges = (source.shape[3] // scales.source, source.shape[4] // scales.source)
    rows, columns = (tile_spans(edge, memory.tile // SPACE_STRIDE, memory.overlap // SPACE_STRIDE) for edge in edges)
    row_fades, column_fades = (fades(spans, scales.result, source.device) for spans in (rows, columns))
    result: Tensor | None = None
    for row, row_fade in zip(rows, row_fades, strict=True):
        for column, column_fade in zip(columns, column_fades, strict=True):
            tile = work(source[..., _slice(row, scales.source), _slice(column, scales.source)]).float()
            if result is None:
                result = tile.new_zeros(*tile.shape[:3], *(edge * scales.result for edge in edges))
            weight = row_fade[:, None] * column_fade
            result[..., _slice(row, scales.result), _slice(column, scales.result)] += tile.mul_(weight)
    if result is None:
        raise RuntimeError(f"no tile of {list(source.shape)}; this is a bug")
    return result


def tile_spans(length: int, tile: int, overlap: int) -> list[Span]:
    """The fewest tiles of this size that cover `length` and share `overlap` or more, evenly spread."""
    if length <= tile:
        return [(0, length)]
    num_tiles = math.ceil((length - overlap) / (tile - overlap))
    starts = [round(i * (length - tile) / (num_tiles - 1)) for i in range(num_tiles)]
    return [(start, start + tile) for start in starts]


def fades(spans: Sequence[Span], scale: int, device: torch.device) -> list[Tensor]:
    """For each span its weights, `scale` values a row: linear over what two neighbours share, summing to one."""
    weights = [torch.ones((end - start) * scale, device=device) for start, end in spans]
    for index, ((_, end), (start, _)) in enumerate(pairwise(spans)):
        shared = (end - start) * scale
        ramp = (torch.arange(shared, device=device) + 0.5) / shared
        weights[index][-shared:] *= 1 - ramp
        weights[index + 1][:shared] *= ramp
    total = torch.zeros(spans[-1][1] * scale, device=device)
    for span, weight in zip(spans, weights, strict=True):
        total[_slice(span, scale)] += weight
    return [weight / total[_slice(span, scale)] for span, weight in zip(spans, weights, strict=True)]


def _slice(span: Span, scale: int) -> slice:
    return slice(span[0] * scale, span[1] * scale)


COMPILE_SECONDS = 25.0
"""Approximate seconds that compiling one shape takes on the machine of docs/benchmarks.md."""
SAVED_SECONDS_PER_PIXEL = 0.103 / (121 * 512 * 768)
MOST_COMPILED = 8
"""Shapes; PyTorch compiles one function so often before it gives up."""


def shapes_to_compile(
    shapes: Iterable[PixelShape], wanted: bool | Literal["auto"], device: torch.device
) -> frozenset[PixelShape]:
    """Of the shapes of all clips that are left, those to compile for.

    `auto`: on a GPU, where what compiling saves is more than what it costs. True: every shape, but no more than
    `MOST_COMPILED`, those with the most pixels.
    """
    pixels: Counter[PixelShape] = Counter()
    for shape in shapes:
        pixels[shape] += shape.frames * shape.height * shape.width
    if wanted == "auto":
        worth = COMPILE_SECONDS / SAVED_SECONDS_PER_PIXEL if device.type == "cuda" else float("inf")
    else:
        worth = 0 if wanted else float("inf")
    return frozenset(shape for shape, number in pixels.most_common(MOST_COMPILED) if number > worth)


def compiled_encoder(vae: Any) -> Callable[[Tensor], Tensor]:
    """The whole encoder as one graph, compiled anew for each shape.

    Inductor fuses norms, activations and padding into few kernels. On a GPU the weights are laid out channels last
    before, as cuDNN's fastest convolutions want them: 0.223 s a clip of 121x512x768 on one H200, 0.257 s without,
    0.326 s eager. Eager calls of the same encoder then differ by rounding.
    """
    if vae.device.type == "cuda":
        vae.encoder.to(memory_format=torch.channels_last_3d)
    compiled: Callable[[Tensor], Tensor] = torch.compile(vae.encoder, fullgraph=True, dynamic=False)
    return compiled


def encode_video(vae: AutoencoderKLLTX2Video, frames: Tensor, *, memory: VaeMemory = WHOLE) -> Tensor:
    """uint8 frames [F, H, W, 3] to the normalised latent [C, F', H', W'], float32.

    Raises:
        ShapeError: the frames are no RGB bytes, not 8k+1, or not multiples of 32 high and wide.
        ConfigError: `memory` asks for chunks that this VAE could not be exact in.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ShapeError(f"frames are {frames.dtype} {list(frames.shape)}; uint8 [F, H, W, 3] is wanted")
    PixelShape(*frames.shape[:3]).latent()
    return encode_pixels(vae, frames.permute(3, 0, 1, 2)[None], memory=memory)[0]


@torch.no_grad()
def decode_video(vae: AutoencoderKLLTX2Video, latent: Tensor, *, memory: VaeMemory = WHOLE, seed: int = 0) -> Tensor:
    """A normalised latent [C, F', H', W'] to uint8 frames [F, H, W, 3].

    `seed`: of the noise that a diffusion decoder starts from; the convolutional one has none.

    Raises:
        ConfigError: `memory` asks for chunks that this VAE could not be exact in.
    """
    shape = LatentShape(*latent.shape[1:]).pixels()
    frames = torch.empty((*shape, vae.config.out_channels), dtype=torch.uint8, device=vae.device)
    done = 0
    for piece in _decoded(vae, latent[None], memory, seed):
        values = piece[0].float().clamp_(-1, 1).add_(1).mul_(127.5).round_().permute(1, 2, 3, 0)
        frames[done : done + len(values)] = values
        done += len(values)
    return frames


@torch.no_grad()
def encode_pixels(
    vae: AutoencoderKLLTX2Video,
    pixels: Tensor,
    *,
    memory: VaeMemory = WHOLE,
    encoder: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Pixels [B, 3, F, H, W] in [-1, 1], or bytes, to normalised latents [B, C, F', H', W'], float32.

    The posterior's mean, not a sample: the same clip always gives the same latent. (Lightricks' encoder does too.)
    `encoder` runs in the place of the VAE's where there are no chunks, such as that one compiled.

    Raises:
        ConfigError: `memory` asks for chunks that this VAE could not be exact in.
    """
    mean, std = _statistics(vae)
    clips = pixels.split(1) if memory.slicing else (pixels,)
    means = [
        in_tiles(clip, memory, ENCODING, lambda tile: _means(vae, tile, memory.chunk_frames, encoder)) for clip in clips
    ]
    return (torch.cat(means).float() - mean) * vae.config.scaling_factor / std


@torch.no_grad()
def decode_pixels(vae: AutoencoderKLLTX2Video, latents: Tensor, *, memory: VaeMemory = WHOLE) -> Tensor:
    """Normalised latents [B, C, F', H', W'] to pixels [B, 3, F, H, W], float32, about [-1, 1] and not clamped.

    Raises:
        ConfigError: `memory` asks for chunks that this VAE could not be exact in.
    """
    shape = LatentShape(*latents.shape[2:]).pixels()
    pixels = torch.empty((len(latents), vae.config.out_channels, *shape), device=vae.device)
    size = 1 if memory.slicing else max(len(latents), 1)
    for start in range(0, len(latents), size):
        done = 0
        for piece in _decoded(vae, latents[start : start + size], memory):
            pixels[start : start + size, :, done : done + piece.shape[2]] = piece
            done += piece.shape[2]
    return pixels


def _means(
    vae: AutoencoderKLLTX2Video, pixels: Tensor, chunk_frames: int | None, encoder: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """The posterior's means of pixels or bytes [B, 3, F, H, W]; moved to the VAE's device by the chunk."""
    if chunk_frames is None:
        encode = vae.encoder if encoder is None else encoder  # a compiled module has no truth value
        return encode(_signal(vae, pixels))[:, : vae.config.latent_channels]
    num_frames = pixels.shape[2]
    pieces = (_signal(vae, pixels[:, :, start:end]) for start, end in pixel_spans(num_frames, chunk_frames))
    return torch.cat(list(encode_chunks(vae.encoder, pieces, num_frames, chunk_frames)), dim=2)


def _signal(vae: AutoencoderKLLTX2Video, pixels: Tensor) -> Tensor:
    pixels = pixels.to(vae.device)
    return (pixels.float().div_(127.5).sub_(1) if pixels.dtype == torch.uint8 else pixels).to(vae.dtype)


def _decoded(vae: AutoencoderKLLTX2Video, latents: Tensor, memory: VaeMemory, seed: int = 0) -> Iterator[Tensor]:
    """Pixels [B, 3, n, H, W] in turn; all at once if there are tiles, whose overlaps are blended."""
    mean, std = _statistics(vae)
    scaled = (latents.to(vae.device).float() * std / vae.config.scaling_factor + mean).to(vae.dtype)
    if isinstance(vae.decoder, LTX2VideoDiffusionDecoderModel):
        yield _denoised(vae.decoder, scaled, seed)
    elif memory.tile is not None:
        yield in_tiles(scaled, memory, DECODING, lambda tile: _pixels(vae, tile, memory.chunk_frames))
    elif memory.chunk_frames is not None:
        yield from decode_chunks(vae.decoder, scaled, memory.chunk_frames)
    else:
        yield vae.decoder(scaled)


def _denoised(decoder: LTX2VideoDiffusionDecoderModel, scaled: Tensor, seed: int) -> Tensor:
    """Pixels [B, 3, F, H, W] by diffusion, from noise that is the same on every device.

    Tiles have the size that Lightricks' have, whatever memory is free: each starts from noise of its own. Latents that
    are smaller than what a place looks at are padded by repeating their edges, and the frames cut, as Lightricks does.
    """
    decoder.set_attn_processor(NeighbourhoodProcessor())
    decoder.enable_tiling()
    shape = LatentShape(*scaled.shape[2:])
    more = [max(least - edge, 0) for least, edge in zip(least_diffused(decoder.config), shape, strict=True)]
    above, left = more[1] // 2, more[2] // 2
    sides = (left, more[2] - left, above, more[1] - above, 0, more[0])
    padded = torch.nn.functional.pad(scaled, sides, mode="replicate") if any(more) else scaled
    generator = torch.Generator().manual_seed(seed)
    made = decoder.decode(padded, generator=generator, return_dict=False)[0]
    frames, height, width = shape.pixels()
    top, begin = above * SPACE_STRIDE, left * SPACE_STRIDE
    return made[:, :, :frames, top : top + height, begin : begin + width]


def _pixels(vae: AutoencoderKLLTX2Video, scaled: Tensor, chunk_frames: int | None) -> Tensor:
    if chunk_frames is None:
        return vae.decoder(scaled)
    return torch.cat(list(decode_chunks(vae.decoder, scaled, chunk_frames)), dim=2)


def _statistics(vae: AutoencoderKLLTX2Video) -> tuple[Tensor, Tensor]:
    return vae.latents_mean.float().view(1, -1, 1, 1, 1), vae.latents_std.float().view(1, -1, 1, 1, 1)
