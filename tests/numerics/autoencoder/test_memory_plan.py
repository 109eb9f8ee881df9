"""The memory plan's arithmetic against counted allocations of the released architectures, on the meta device."""

import pytest
import torch

from benchmarks.released import GENERATIONS
from ltx_core.autoencoder.memory import WHOLE, VaeMemory
from ltx_core.autoencoder.memory_plan import HEADROOM, predict_decode_bytes, predict_encode_bytes
from ltx_core.autoencoder.video import decode_video, encode_video
from ltx_core.miniature.header import Generation
from ltx_core.shapes import PixelShape
from tests.unit.autoencoder.allocations import Allocations
from tests.unit.autoencoder.video_vaes import released_vae

CLIP = PixelShape(25, 256, 384)
PREDICTIONS = [predict_encode_bytes, predict_decode_bytes]
TOO_HIGH = 1.7


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("memory", [WHOLE, VaeMemory(1), VaeMemory(2), VaeMemory(tile=256), VaeMemory(1, tile=256)])
def test_arithmetic_is_near_what_is_allocated(generation: Generation, memory: VaeMemory) -> None:
    released = released_vae(generation)
    with Allocations() as encoding:
        encode_video(released, torch.empty(*CLIP, 3, dtype=torch.uint8, device="meta"), memory=memory)
    with Allocations() as decoding:
        decode_video(released, torch.empty(128, *CLIP.latent(), device="meta"), memory=memory)
    for predict, allocated in zip(PREDICTIONS, (encoding, decoding), strict=True):
        assert allocated.peak / HEADROOM < predict(released, CLIP, memory) < allocated.peak * TOO_HIGH
