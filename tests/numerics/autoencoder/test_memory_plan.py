"""The memory plan's arithmetic against counted allocations of the released architectures, on the meta device."""

import pytest
import torch

from benchmarks.released import GENERATIONS
from ltx_core.autoencoder.video import decode_video, encode_video
from ltx_core.memory.video_vae import HEADROOM, WHOLE, VaeMemory, VaeWork
from ltx_core.shapes import PixelShape
from ltx_core.tiny.header import Generation
from tests.unit.autoencoder.allocations import Allocations
from tests.unit.autoencoder.video_vaes import released_vae

pytestmark = pytest.mark.extra
CLIP = PixelShape(25, 256, 384)
TOO_HIGH = 1.7


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("memory", [WHOLE, VaeMemory(1), VaeMemory(2), VaeMemory(tile=256), VaeMemory(1, tile=256)])
def test_arithmetic_is_near_what_is_allocated(generation: Generation, memory: VaeMemory) -> None:
    released = released_vae(generation)
    with Allocations() as encoding:
        encode_video(released, torch.empty(*CLIP, 3, dtype=torch.uint8, device="meta"), memory=memory)
    with Allocations() as decoding:
        decode_video(released, torch.empty(128, *CLIP.latent(), device="meta"), memory=memory)
    for decodes, allocated in ((False, encoding), (True, decoding)):
        predicted = VaeWork.of(released, CLIP, decodes=decodes).clip_bytes(memory)
        assert allocated.peak / HEADROOM < predicted < allocated.peak * TOO_HIGH
