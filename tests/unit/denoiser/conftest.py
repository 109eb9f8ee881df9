"""A tiny transformer of each generation with the released topology, and streams for it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.denoiser.inputs import Stream
from ltx_core.denoiser.positions import audio_positions, first_frame_keyframes, video_positions
from ltx_core.shapes import LatentShape

SHAPE = LatentShape(frames=2, height=2, width=3)
NUM_AUDIO_TOKENS = 9
GENERATIONS = ("2.0", "2.3", "2.5")


def build(generation: str) -> LTX2VideoTransformer3DModel:
    torch.manual_seed(0)
    later = generation != "2.0"
    transformer = LTX2VideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        audio_in_channels=16,
        audio_out_channels=16,
        audio_num_attention_heads=2,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=16,
        num_layers=2,
        caption_channels=24,
        rope_type="split",
        perturbed_attn=True,
        gated_attn=later,
        audio_gated_attn=later,
        cross_attn_mod=later,
        audio_cross_attn_mod=later,
        use_prompt_embeddings=not later,
        ff_bias=generation != "2.5",
        use_keyframes_abs_pos_embedding=generation == "2.5",
    )
    if generation == "2.5":
        torch.nn.init.normal_(transformer.keyframes_abs_pos_embedding)
    return transformer.requires_grad_(False).eval()


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
