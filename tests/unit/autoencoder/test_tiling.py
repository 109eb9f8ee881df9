"""Spatial tiles: where they lie, how they blend, and what they change."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_core.autoencoder.video import (
    DECODING,
    ENCODING,
    decode_pixels,
    difference,
    encode_pixels,
    fades,
    in_tiles,
    tile_spans,
)
from ltx_core.memory.video_vae import VaeMemory
from tests.unit.autoencoder.video_vaes import build, local, pixels

pytestmark = pytest.mark.whole

CPU = torch.device("cpu")


@given(length=st.integers(1, 80), tile=st.integers(2, 20), data=st.data())
def test_tiles_cover_everything_and_share_enough(length: int, tile: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(1, tile - 1))
    spans = tile_spans(length, tile, overlap)
    assert (spans[0][0], spans[-1][1]) == (0, length)
    assert all(end - start == min(tile, length) for start, end in spans)
    assert all(end - start >= overlap for (_, end), (start, _) in pairwise(spans))


@given(length=st.integers(1, 40), tile=st.integers(2, 12), scale=st.sampled_from([1, 4]), data=st.data())
def test_weights_sum_to_one(length: int, tile: int, scale: int, data: st.DataObject) -> None:
    spans = tile_spans(length, tile, data.draw(st.integers(1, tile - 1)))
    total = torch.zeros(length * scale)
    for (start, end), weight in zip(spans, fades(spans, scale, CPU), strict=True):
        assert weight.min() > 0
        total[start * scale : end * scale] += weight
    torch.testing.assert_close(total, torch.ones(length * scale))


def test_work_that_sees_one_place_blends_to_the_whole() -> None:
    memory = VaeMemory(tile=96, overlap=32)
    clip = pixels(2, 192, 256)
    shrunk = torch.nn.functional.avg_pool3d(clip, (1, 32, 32))
    tiled = in_tiles(clip, memory, ENCODING, lambda tile: torch.nn.functional.avg_pool3d(tile, (1, 32, 32)))
    torch.testing.assert_close(tiled, shrunk)
    grown = in_tiles(shrunk, memory, DECODING, lambda tile: tile.repeat_interleave(32, 3).repeat_interleave(32, 4))
    torch.testing.assert_close(grown, shrunk.repeat_interleave(32, 3).repeat_interleave(32, 4))


def test_a_clip_that_fits_one_tile_is_not_changed(each_vae: Any) -> None:
    clip, memory = pixels(9), VaeMemory(tile=96, overlap=32)
    latents = encode_pixels(each_vae, clip)
    assert encode_pixels(each_vae, clip, memory=memory).equal(latents)
    assert decode_pixels(each_vae, latents, memory=memory).equal(decode_pixels(each_vae, latents))


@pytest.fixture(scope="module", params=["2.0", "2.3"])
def local_vae(request: pytest.FixtureRequest) -> Any:
    return local(build(request.param), strength=0.05)


def test_the_error_is_there_and_small_and_shrinks_with_overlap(local_vae: Any) -> None:
    clip = pixels(1, 192, 256)
    right = encode_pixels(local_vae, clip)
    pixels_of = decode_pixels(local_vae, right)
    narrow, wide = (VaeMemory(tile=128, overlap=overlap) for overlap in (32, 96))
    for change, source, whole in ((encode_pixels, clip, right), (decode_pixels, right, pixels_of)):
        small, large = (difference(change(local_vae, source, memory=memory), whole) for memory in (wide, narrow))
        assert 0 < small.relative < large.relative < 0.2
        assert "of the norm" in str(large)


def test_tiles_and_chunks_together(local_vae: Any) -> None:
    clip, tiles = pixels(17, 128, 64), VaeMemory(tile=64, overlap=32)
    both = replace(tiles, chunk_frames=1)
    latents = encode_pixels(local_vae, clip, memory=tiles)
    torch.testing.assert_close(encode_pixels(local_vae, clip, memory=both), latents, atol=1e-5, rtol=0)
    decoded = decode_pixels(local_vae, latents, memory=tiles)
    torch.testing.assert_close(decode_pixels(local_vae, latents, memory=both), decoded, atol=1e-4, rtol=0)
