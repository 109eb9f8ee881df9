"""A tiny transformer of the real class, and requests and texts that fit it."""

from collections.abc import Callable

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.conditioning.text import Text
from ltx_core.sampling.request import RenderRequest
from ltx_core.sampling.walk import Prompts

CHANNELS, AUDIO_CHANNELS, WIDTH, AUDIO_WIDTH = 4, 8, 32, 16


@pytest.fixture(scope="session")
def build() -> Callable[[], LTX2VideoTransformer3DModel]:
    """Makes the same tiny LTX-2.5 transformer at every call: gates, prompt modulation, keyframe marks, STG."""

    def make() -> LTX2VideoTransformer3DModel:
        torch.manual_seed(0)
        transformer = LTX2VideoTransformer3DModel(
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            num_attention_heads=2,
            attention_head_dim=WIDTH // 2,
            cross_attention_dim=WIDTH,
            audio_in_channels=AUDIO_CHANNELS,
            audio_out_channels=AUDIO_CHANNELS,
            audio_num_attention_heads=2,
            audio_attention_head_dim=AUDIO_WIDTH // 2,
            audio_cross_attention_dim=AUDIO_WIDTH,
            num_layers=2,
            caption_channels=WIDTH,
            rope_type="split",
            gated_attn=True,
            cross_attn_mod=True,
            audio_gated_attn=True,
            audio_cross_attn_mod=True,
            use_prompt_embeddings=False,
            perturbed_attn=True,
            ff_bias=False,
            use_keyframes_abs_pos_embedding=True,
        )
        torch.nn.init.normal_(transformer.keyframes_abs_pos_embedding, std=0.5)
        return transformer.eval().requires_grad_(False)

    return make


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
