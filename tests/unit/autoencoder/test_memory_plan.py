"""The plan for the released architectures, on the meta device. Its arithmetic is held to counts in tests/numerics."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.released import GENERATIONS
from ltx_core.autoencoder.layers import decoder_layers, encoder_layers
from ltx_core.autoencoder.memory import WHOLE, VaeMemory
from ltx_core.autoencoder.memory_plan import (
    CANDIDATES,
    HEADROOM,
    choose_memory,
    predict_decode_bytes,
    predict_encode_bytes,
)
from ltx_core.errors import OutOfMemory
from ltx_core.shapes import LatentShape, PixelShape
from tests.unit.autoencoder.video_vaes import released_vae

PREDICTIONS = [predict_encode_bytes, predict_decode_bytes]

each_prediction = pytest.mark.parametrize("predict", PREDICTIONS)


@pytest.fixture(scope="module", params=GENERATIONS)
def released(request: pytest.FixtureRequest) -> Any:
    return released_vae(request.param)


@each_prediction
def test_more_to_do_takes_more(released: Any, predict: Callable[..., int]) -> None:
    larger = [PixelShape(25, 256, 256), PixelShape(25, 256, 512), PixelShape(49, 256, 512), PixelShape(49, 512, 512)]
    for memory in (WHOLE, VaeMemory(1), VaeMemory(1, tile=256)):
        sizes = [predict(released, shape, memory) for shape in larger]
        assert sizes == sorted(sizes), memory
    clip = PixelShape(121, 704, 1280)
    chunks = [predict(released, clip, VaeMemory(chunk)) for chunk in (1, 2, 4, 8, None)]
    assert chunks == sorted(chunks)
    tiles = [predict(released, clip, VaeMemory(1, tile=edge)) for edge in (256, 512)]
    assert tiles == sorted(tiles)


@each_prediction
def test_the_cheapest_that_fits(released: Any, predict: Callable[..., int]) -> None:
    clip = PixelShape(121, 704, 1280)
    wanted = {memory: round(predict(released, clip, memory) * HEADROOM) for memory in CANDIDATES}
    for place, (memory, num_bytes) in enumerate(wanted.items()):
        first = next(m for m, most in wanted.items() if most <= num_bytes)
        assert choose_memory(released, clip, num_bytes, predict).memory == first
        assert place > 2 or first == memory, "exact options shrink in this order"
    assert choose_memory(released, clip, 10**12, predict).memory == WHOLE


@each_prediction
def test_nothing_fits(released: Any, predict: Callable[..., int]) -> None:
    with pytest.raises(OutOfMemory, match=r"needs [\d.]+ GiB in the video VAE at the least, and 0.0 GiB are free"):
        choose_memory(released, PixelShape(121, 704, 1280), 10**6, predict)


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
