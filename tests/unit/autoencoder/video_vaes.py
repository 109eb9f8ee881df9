"""Miniature video VAEs of both generations, and clips for them."""

from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video

from benchmarks.released import video_vae_section
from ltx_core.checkpoint.architecture import video_vae_arguments
from ltx_core.tiny import header
from ltx_core.tiny.weights import draw, seeded


def build(generation: header.Generation) -> Any:
    """Random weights that keep signals at their size, so that every layer counts in the result."""
    with seeded(1):
        vae = AutoencoderKLLTX2Video(**video_vae_arguments(header.config(generation)))
        draw(vae)
    return vae.requires_grad_(False).eval()


def released_vae(generation: header.Generation) -> Any:
    """The released architecture in bfloat16 on the meta device: shapes without numbers."""
    with torch.device("meta"):
        vae = AutoencoderKLLTX2Video(**video_vae_arguments({"vae": video_vae_section(generation)}))
    return vae.to(torch.bfloat16).eval().requires_grad_(False)


def local(vae: Any, strength: float) -> Any:
    """Let convolutions see mainly one place, as trained ones do: other taps in space are scaled by `strength`."""
    for layer in vae.modules():
        if isinstance(layer, torch.nn.Conv3d) and layer.kernel_size[1:] == (3, 3):
            centre = layer.weight[..., 1:2, 1:2].clone()
            layer.weight.mul_(strength)
            layer.weight[..., 1:2, 1:2] = centre
    return vae


def pixels(frames: int, height: int = 64, width: int = 96, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1
