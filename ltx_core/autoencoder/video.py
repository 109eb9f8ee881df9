"""Frames to normalised video latents and back, in the VAE's dtype with float32 at both ends."""

import torch
from diffusers import AutoencoderKLLTX2Video

from ltx_core.errors import ShapeError
from ltx_core.shapes import PixelShape


def encode_video(vae: AutoencoderKLLTX2Video, frames: torch.Tensor) -> torch.Tensor:
    """uint8 frames [F, H, W, 3] to the normalised latent [C, F', H', W'], float32.

    Raises:
        ShapeError: the frames are no RGB bytes, not 8k+1, or not multiples of 32 high and wide.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ShapeError(f"frames are {frames.dtype} {list(frames.shape)}; uint8 [F, H, W, 3] is wanted")
    PixelShape(*frames.shape[:3]).latent()
    pixels = frames.to(vae.device).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    return encode_pixels(vae, pixels)[0]


def decode_video(vae: AutoencoderKLLTX2Video, latent: torch.Tensor) -> torch.Tensor:
    """A normalised latent [C, F', H', W'] to uint8 frames [F, H, W, 3]."""
    pixels = decode_pixels(vae, latent[None])[0]
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous()


@torch.no_grad()
def encode_pixels(vae: AutoencoderKLLTX2Video, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels [B, 3, F, H, W] in [-1, 1] to normalised latents [B, C, F', H', W'], float32.

    The posterior's mean, not a sample: the same clip always gives the same latent. (Lightricks' encoder does too.)
    """
    mean, std = _statistics(vae)
    posterior = vae.encode(pixels.to(vae.device, vae.dtype), return_dict=False)[0]
    return (posterior.mode().float() - mean) * vae.config.scaling_factor / std


@torch.no_grad()
def decode_pixels(vae: AutoencoderKLLTX2Video, latents: torch.Tensor) -> torch.Tensor:
    """Normalised latents [B, C, F', H', W'] to pixels [B, 3, F, H, W], float32, about [-1, 1] and not clamped."""
    mean, std = _statistics(vae)
    scaled = latents.to(vae.device).float() * std / vae.config.scaling_factor + mean
    return vae.decode(scaled.to(vae.dtype), return_dict=False)[0].float()


def _statistics(vae: AutoencoderKLLTX2Video) -> tuple[torch.Tensor, torch.Tensor]:
    return vae.latents_mean.float().view(1, -1, 1, 1, 1), vae.latents_std.float().view(1, -1, 1, 1, 1)
