"""Upscale latents to twice the width and height by Lightricks' spatial upsampler, between a render's two stages.

Source: Lightricks' two-stage pipelines: the upsampler works on latents as the VAE's encoder gives them before they are
normalised, so they are brought back first and normalised after.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from torch import Tensor

from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.read import filled_with, read_weights
from ltx_core.checkpoint.upsampler import open_upsampler, upsampler_arguments

STATISTICS = ("latents_mean", "latents_std")


@dataclass(frozen=True)
class Upsampler:
    """The module, and the statistics that its latents are normalised by."""

    module: Any
    """Frozen, [B, C, F, H, W] to [B, C, F, 2H, 2W]."""
    mean: Tensor
    """[C, 1, 1, 1] float32, as `std`."""
    std: Tensor

    @torch.no_grad()
    def __call__(self, latent: Tensor) -> Tensor:
        """Upscale a normalised latent [C, F, H, W] to [C, F, 2H, 2W], float32, on the CPU."""
        weight = self.module.final_conv.weight
        raw = (latent.to(weight.device).float() * self.std + self.mean).to(weight.dtype)
        return ((self.module(raw[None])[0].float() - self.mean) / self.std).cpu()


def load_upsampler(path: Path, model: Model, *, device: str, dtype: torch.dtype) -> Upsampler:
    """The upsampler of a file, for latents of this model's video VAE.

    Raises:
        CheckpointError: the file is none, lacks tensors, or is for latents of another number of channels.
    """
    weights = open_upsampler(path, model)
    arguments = upsampler_arguments(path, weights)
    stored = model.weights("video_vae")
    found = read_weights({name: stored[name] for name in STATISTICS}, device=device, dtype=torch.float32)
    mean, std = (found[name].view(-1, 1, 1, 1) for name in STATISTICS)
    scale = model.arguments("video_vae").get("scaling_factor", 1.0)
    module = filled_with(lambda: LTX2LatentUpsamplerModel(**arguments), weights, f"the upsampler {path}", device, dtype)
    return Upsampler(module, mean, std / scale)
