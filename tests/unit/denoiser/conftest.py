"""A tiny transformer of each generation with the released topology, and streams for it."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.denoiser.tokens import Stream, audio_positions, first_frame_keyframes, video_positions
from ltx_core.shapes import LatentShape
from ltx_core.tiny.header import Generation
from tests.tiny_transformer import build as tiny

SHAPE = LatentShape(frames=2, height=2, width=3)
NUM_AUDIO_TOKENS = 9
GENERATIONS: tuple[Generation, ...] = get_args(Generation)


def build(generation: Generation) -> LTX2VideoTransformer3DModel:
    return tiny(generation, channels=8, audio_channels=16, width=32, audio_width=16, captions=24)


@pytest.fixture(params=GENERATIONS)
def transformer(request: pytest.FixtureRequest) -> LTX2VideoTransformer3DModel:
    return build(request.param)


@pytest.fixture
def streams() -> Callable[..., tuple[Stream, Stream]]:
    """Two samples of video and audio; keyword arguments replace parts of the video stream."""

    def make(transformer: LTX2VideoTransformer3DModel, **video: Any) -> tuple[Stream, Stream]:
        torch.manual_seed(1)
        first = transformer.config.use_prompt_embeddings
        sigma = torch.tensor([0.25, 0.75])
        parts = {
            "tokens": torch.randn(2, SHAPE.tokens, 8),
            "timesteps": sigma,
            "sigma": sigma,
            "context": torch.randn(2, 6, 24 if first else 32),
            "positions": video_positions(SHAPE, 24.0, 2),
            "keyframes": first_frame_keyframes(SHAPE, 2),
        }
        audio = Stream(
            tokens=torch.randn(2, NUM_AUDIO_TOKENS, 16),
            timesteps=sigma,
            sigma=sigma,
            context=torch.randn(2, 6, 24 if first else 16),
            positions=audio_positions(NUM_AUDIO_TOKENS, 2),
        )
        return Stream(**{**parts, **video}), audio

    return make
