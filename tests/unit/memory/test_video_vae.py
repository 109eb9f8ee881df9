"""The plan for the released architectures, on the meta device. Its arithmetic is held to counts in tests/numerics."""

from typing import Any

import pytest

from benchmarks.released import GENERATIONS
from ltx_core.errors import OutOfMemory
from ltx_core.memory.plan import plan
from ltx_core.memory.video_vae import (
    HEADROOM,
    WHOLE,
    VaeMemory,
    VaeWork,
    decoder_layers,
    encoder_layers,
)
from ltx_core.shapes import LatentShape, PixelShape
from tests.unit.autoencoder.video_vaes import released_vae

CLIP = PixelShape(121, 704, 1280)
either_way = pytest.mark.parametrize("decodes", [False, True], ids=["encoding", "decoding"])


@pytest.fixture(scope="module", params=GENERATIONS)
def released(request: pytest.FixtureRequest) -> Any:
    return released_vae(request.param)


@either_way
def test_more_to_do_takes_more(released: Any, decodes: bool) -> None:
    def predict(shape: PixelShape, memory: VaeMemory) -> int:
        return VaeWork.of(released, shape, decodes=decodes).clip_bytes(memory)

    larger = [PixelShape(25, 256, 256), PixelShape(25, 256, 512), PixelShape(49, 256, 512), PixelShape(49, 512, 512)]
    for memory in (WHOLE, VaeMemory(1), VaeMemory(1, tile=256)):
        sizes = [predict(shape, memory) for shape in larger]
        assert sizes == sorted(sizes), memory
    chunks = [predict(CLIP, VaeMemory(chunk)) for chunk in (1, 2, 4, 8, None)]
    assert chunks == sorted(chunks)
    tiles = [predict(CLIP, VaeMemory(1, tile=edge)) for edge in (256, 512)]
    assert tiles == sorted(tiles)


@either_way
def test_the_cheapest_that_fits(released: Any, decodes: bool) -> None:
    work = VaeWork.of(released, CLIP, decodes=decodes)
    wanted = {memory: round(work.clip_bytes(memory) * HEADROOM) for memory in work.ways()}
    assert list(wanted) == [WHOLE, VaeMemory(4), VaeMemory(1)]
    for memory, num_bytes in wanted.items():
        assert work.estimate(memory).needed_bytes == num_bytes
        assert plan(work, num_bytes).options == memory, "exact options shrink in this order"
    assert plan(work, 10**12).options == WHOLE


@either_way
def test_nothing_fits(released: Any, decodes: bool) -> None:
    with pytest.raises(OutOfMemory, match=r"needs [\d.]+ GiB in the video VAE at the least, and 0.0 GiB are free"):
        plan(VaeWork.of(released, CLIP, decodes=decodes), 10**6)


def test_every_convolution_is_counted(released: Any) -> None:
    latent = LatentShape(4, 8, 12)
    for network, layers in (
        (released.encoder, encoder_layers(released.config, latent.pixels())),
        (released.decoder, decoder_layers(released.config, latent)),
    ):
        kinds = [type(module).__name__ for module in network.modules()]
        assert sum(layer.convolutions for layer in layers) == kinds.count("LTX2VideoCausalConv3d")
    assert encoder_layers(released.config, latent.pixels())[-1].result == 129 * 4 * 8 * 12
    assert decoder_layers(released.config, latent)[-1].result == 3 * 25 * 256 * 384
