"""Render held-out captions with the trained model, and measure what is seen and heard."""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ltx_core.autoencoder.audio import decode_mel, vocode
from ltx_core.autoencoder.video import decode_pixels, encode_pixels
from ltx_core.checkpoint.keys import to_original_keys
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import unpack_video
from ltx_core.sampling.schedule import dev_sigmas
from ltx_core.tiny.world import AUDIO, Spec
from scripts.pretrain.batches import Text, in_batches
from scripts.pretrain.denoiser import Geometry, Learner
from tests import detectors

Rendered = tuple[Tensor, Tensor]


def load_written(modules: Mapping[str, Any], checkpoint: Path) -> None:
    """Give the modules of `build_modules` the weights of a checkpoint in Lightricks' layout, as they were rounded."""
    stored = load_file(checkpoint)
    for component, module in modules.items():
        names = dict(zip(module.state_dict(), to_original_keys(component, module.state_dict()), strict=True))
        module.load_state_dict({own: stored[original] for own, original in names.items()})


@torch.no_grad()
def render(
    modules: Mapping[str, Any], learner: Learner, text: Text, captions: list[str], *, steps: int = 20, cfg: float = 3.0
) -> Rendered:
    """Pixels and audio by Euler steps with classifier-free guidance of both streams, all captions as one batch."""
    device = next(learner.parameters()).device
    geometry, count = Geometry(device), len(captions)
    contexts = learner.contexts(*text.embed([*captions, *([""] * count)]))
    generator = torch.Generator().manual_seed(11)
    channels = modules["transformer"].config.in_channels
    video = torch.randn(count, geometry.grid.tokens, channels, generator=generator).to(device)
    audio_channels = modules["transformer"].config.audio_in_channels
    audio = torch.randn(count, geometry.audio_tokens, audio_channels, generator=generator).to(device)
    for sigma, following in pairwise(dev_sigmas(steps)):
        level = torch.full((2 * count,), sigma, device=device)
        both = torch.cat([video, video]), torch.cat([audio, audio])
        found = denoise(learner["transformer"], *geometry.streams(*both, level, contexts))  # type: ignore[arg-type]
        video, audio = (
            _guided(tokens, velocity, sigma, following, cfg)
            for tokens, velocity in zip((video, audio), found, strict=True)
            if velocity is not None
        )
    pixels = decode_pixels(modules["video_vae"], unpack_video(video, geometry.grid))
    return pixels.float().cpu().clamp(-1, 1), vocode(modules["vocoder"], decode_mel(modules["audio_vae"], audio)).cpu()


def _guided(tokens: Tensor, velocity: Tensor, sigma: float, following: float, cfg: float) -> Tensor:
    clean = torch.cat([tokens, tokens]) - sigma * velocity.float()
    with_text, without = clean.chunk(2)
    guided = without + cfg * (with_text - without)
    return guided + following / sigma * (tokens - guided)


def measure(specs: list[Spec], rendered: Rendered) -> dict[str, float]:
    """Fractions of clips in which each thing is right, and all of them."""
    pixels, audio = rendered
    right = detectors.right(specs, pixels, audio)
    tones = [i for i, spec in enumerate(specs) if AUDIO[spec.audio].hertz]
    if tones:
        wanted = torch.tensor([float(AUDIO[specs[i].audio].hertz) for i in tones])
        semitones = 12 * (detectors.pitch(audio[tones]) / wanted).log2().abs()
        right["pitch"] = [bool(value < 1) for value in semitones]
    return {name: sum(values) / len(values) for name, values in right.items()}


@torch.no_grad()
def psnr(vae: Any, specs: list[Spec], generator: torch.Generator) -> float:
    """Peak signal to noise of clips that went through the video VAE, in dB."""
    errors = []
    for pixels, _ in in_batches(specs, generator, 32):
        again = decode_pixels(vae, encode_pixels(vae, pixels)).float().clamp(-1, 1)
        errors += (again - pixels).square().flatten(1).mean(1).tolist()
    return sum(10 * math.log10(4 / error) for error in errors) / len(errors)
