"""A tiny transformer of the real class, and requests and texts that fit it."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.conditioning.kinds import Text
from ltx_core.sampling.request import RenderRequest
from ltx_core.sampling.sampler import Prompts
from tests.tiny_transformer import build as tiny

CHANNELS, AUDIO_CHANNELS, WIDTH, AUDIO_WIDTH = 4, 8, 32, 16


@pytest.fixture(scope="session")
def build() -> Callable[[], LTX2VideoTransformer3DModel]:
    """Makes the same tiny LTX-2.5 transformer at every call: gates, prompt modulation, keyframe marks, STG."""

    return partial(tiny, "2.5", channels=CHANNELS, audio_channels=AUDIO_CHANNELS, width=WIDTH, audio_width=AUDIO_WIDTH)


@pytest.fixture
def transformer(build: Callable[[], LTX2VideoTransformer3DModel]) -> LTX2VideoTransformer3DModel:
    return build()


def text(seed: int) -> Text:
    """Random contexts of five text tokens."""
    generator = torch.Generator().manual_seed(seed)
    return Text(
        torch.randn(1, 5, WIDTH, generator=generator),
        torch.randn(1, 5, AUDIO_WIDTH, generator=generator),
    )


@pytest.fixture
def prompts() -> Prompts:
    return Prompts(text(1))


@pytest.fixture
def both_prompts() -> Prompts:
    return Prompts(text(1), text(2))


@pytest.fixture
def request_of() -> Callable[..., RenderRequest]:
    """A small request with some fields changed."""

    def make(**changes: object) -> RenderRequest:
        fields: dict[str, object] = {
            "prompt": "a robot dancing",
            "seed": 7,
            "width": 64,
            "height": 32,
            "num_frames": 9,
            "frame_rate": 24.0,
            "num_steps": 2,
        }
        return RenderRequest(**{**fields, **changes})  # type: ignore[arg-type]  # changes are any field's

    return make
