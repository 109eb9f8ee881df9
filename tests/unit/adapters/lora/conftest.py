"""A tiny transformer of the real class, and an input that shows what a LoRA does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.adapters.lora import lora_parameters
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream, audio_positions, first_frame_keyframes, video_positions
from ltx_core.shapes import LatentShape
from tests.tiny_transformer import build as tiny

SHAPE = LatentShape(2, 1, 2)
NUM_AUDIO = 3


@pytest.fixture
def build() -> Callable[..., Any]:
    """Makes the same tiny LTX-2.3 transformer at every call."""

    def make(dtype: torch.dtype = torch.float32) -> LTX2VideoTransformer3DModel:
        return tiny("2.3", channels=4, audio_channels=8, width=32, audio_width=16).to(dtype)

    return make


@pytest.fixture
def transformer(build: Callable[..., Any]) -> Any:
    return build()


def velocities(transformer: Any) -> torch.Tensor:
    """Both streams' velocities for one fixed input, in one row."""
    generator = torch.Generator().manual_seed(5)
    sigma = torch.tensor([0.5])
    video = Stream(
        torch.randn(1, SHAPE.tokens, 4, generator=generator),
        sigma,
        sigma,
        torch.randn(1, 5, 32, generator=generator),
        video_positions(SHAPE, 24.0),
        first_frame_keyframes(SHAPE),
    )
    audio = Stream(
        torch.randn(1, NUM_AUDIO, 8, generator=generator),
        sigma,
        sigma,
        torch.randn(1, 5, 16, generator=generator),
        audio_positions(NUM_AUDIO),
    )
    with torch.no_grad():
        parts = denoise(transformer, video, audio)
    return torch.cat([part.flatten() for part in parts if part is not None])


@pytest.fixture
def run_forward() -> Callable[[Any], torch.Tensor]:
    return velocities


@pytest.fixture
def pretend_training() -> Callable[[Any], None]:
    """Gives every B values, as if it had been trained."""

    def change(transformer: Any) -> None:
        generator = torch.Generator().manual_seed(9)
        for name, parameter in lora_parameters(transformer).items():
            if name.endswith("lora_B.weight"):
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)

    return change
