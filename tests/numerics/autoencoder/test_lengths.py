"""Chunks equal the whole over five seconds, where state is carried many times."""

from typing import Any

import pytest
import torch

from ltx_core.autoencoder.video import decode_pixels, encode_pixels
from ltx_core.memory.video_vae import PATCH_CONV, TEMPORAL_ROLL, VaeMemory
from ltx_core.tiny.header import Generation
from tests.unit.autoencoder.video_vaes import build, pixels

FRAMES = 121
CHUNKS = [TEMPORAL_ROLL, 16, *(pytest.param(size, marks=pytest.mark.extra) for size in (2, 3, PATCH_CONV, 15, 17))]
ROUNDING = 1e-5


@pytest.fixture(scope="module", params=["2.0", "2.3"])
def whole(request: pytest.FixtureRequest) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A VAE, a clip, its latents and those decoded."""
    generation: Generation = request.param
    vae, clip = build(generation), pixels(FRAMES)
    latents = encode_pixels(vae, clip)
    return vae, clip, latents, decode_pixels(vae, latents)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_equal_the_whole(whole: Any, chunk: int) -> None:
    vae, clip, latents, decoded = whole
    assert latents.std() > 0.1
    assert decoded.std() > 0.1
    assert (encode_pixels(vae, clip, memory=VaeMemory(chunk)) - latents).abs().max() <= ROUNDING
    assert (decode_pixels(vae, latents, memory=VaeMemory(chunk)) - decoded).abs().max() <= ROUNDING
