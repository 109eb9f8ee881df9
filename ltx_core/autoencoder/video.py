"""Frames to normalised video latents and back, in the VAE's dtype with float32 at both ends."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from diffusers import AutoencoderKLLTX2Video
from torch import Tensor

from ltx_core.autoencoder.chunked import decode_chunks, encode_chunks, pixel_spans
from ltx_core.autoencoder.memory import WHOLE, VaeMemory
from ltx_core.autoencoder.tiling import DECODING, ENCODING, Difference, difference, in_tiles
from ltx_core.errors import ShapeError
from ltx_core.shapes import LatentShape, PixelShape


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
def decode_video(vae: AutoencoderKLLTX2Video, latent: Tensor, *, memory: VaeMemory = WHOLE) -> Tensor:
    """A normalised latent [C, F', H', W'] to uint8 frames [F, H, W, 3].

    Raises:
        ConfigError: `memory` asks for chunks that this VAE could not be exact in.
    """
    shape = LatentShape(*latent.shape[1:]).pixels()
    frames = torch.empty((*shape, vae.config.out_channels), dtype=torch.uint8, device=vae.device)
    done = 0
    for piece in _decoded(vae, latent[None], memory):
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


@dataclass(frozen=True)
class TilingError:
    """What tiling changes."""

    latents: Difference
    pixels: Difference

    def __str__(self) -> str:
        return f"latents off by {self.latents}; pixels in [-1, 1] off by {self.pixels}"


def tiling_error(vae: AutoencoderKLLTX2Video, pixels: Tensor, memory: VaeMemory) -> TilingError:
    """How far `memory`'s tiles are from no tiles, on these pixels [B, 3, F, H, W] there and on their latents back."""
    untiled = replace(memory, tile=None)
    right = encode_pixels(vae, pixels, memory=untiled)
    latents = difference(encode_pixels(vae, pixels, memory=memory), right)
    decoded = (decode_pixels(vae, right, memory=kind) for kind in (memory, untiled))
    return TilingError(latents, difference(*decoded))


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


def _decoded(vae: AutoencoderKLLTX2Video, latents: Tensor, memory: VaeMemory) -> Iterator[Tensor]:
    """Pixels [B, 3, n, H, W] in turn; all at once if there are tiles, whose overlaps are blended."""
    mean, std = _statistics(vae)
    scaled = (latents.to(vae.device).float() * std / vae.config.scaling_factor + mean).to(vae.dtype)
    if memory.tile is not None:
        yield in_tiles(scaled, memory, DECODING, lambda tile: _pixels(vae, tile, memory.chunk_frames))
    elif memory.chunk_frames is not None:
        yield from decode_chunks(vae.decoder, scaled, memory.chunk_frames)
    else:
        yield vae.decoder(scaled)


def _pixels(vae: AutoencoderKLLTX2Video, scaled: Tensor, chunk_frames: int | None) -> Tensor:
    if chunk_frames is None:
        return vae.decoder(scaled)
    return torch.cat(list(decode_chunks(vae.decoder, scaled, chunk_frames)), dim=2)


def _statistics(vae: AutoencoderKLLTX2Video) -> tuple[Tensor, Tensor]:
    return vae.latents_mean.float().view(1, -1, 1, 1, 1), vae.latents_std.float().view(1, -1, 1, 1, 1)
