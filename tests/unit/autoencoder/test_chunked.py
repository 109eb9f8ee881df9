"""Temporal chunks with carried state against the whole pass. Whole clips of 121 frames are in tests/numerics."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_core.autoencoder.chunked import Waiting, pixel_spans
from ltx_core.autoencoder.video import decode_pixels, decode_video, encode_pixels, encode_video
from ltx_core.errors import ConfigError
from ltx_core.memory.video_vae import PATCH_CONV, TEMPORAL_ROLL, VaeMemory
from ltx_core.shapes import TIME_STRIDE, LatentShape
from tests.unit.autoencoder.allocations import Allocations
from tests.unit.autoencoder.video_vaes import build, pixels

pytestmark = pytest.mark.whole

ROUNDING = 1e-5
NOISY = torch.nn.Parameter(torch.zeros(8, 1, 1), requires_grad=False)

chunk_sizes = pytest.mark.parametrize("chunk", [TEMPORAL_ROLL, pytest.param(2, marks=pytest.mark.extra), 3, PATCH_CONV])
lengths = pytest.mark.parametrize(
    "frames", [1, *(pytest.param(count, marks=pytest.mark.extra) for count in (9, 17)), 25]
)


def off(found: torch.Tensor, right: torch.Tensor) -> float:
    assert found.shape == right.shape
    assert right.std() > 0.1, "a signal that is nearly constant proves nothing"
    return float((found - right).abs().max())


@chunk_sizes
@lengths
def test_encoding_in_chunks_equals_the_whole(each_vae: Any, frames: int, chunk: int) -> None:
    clip = pixels(frames)
    assert off(encode_pixels(each_vae, clip, memory=VaeMemory(chunk)), encode_pixels(each_vae, clip)) <= ROUNDING


@chunk_sizes
@lengths
def test_decoding_in_chunks_equals_the_whole(each_vae: Any, frames: int, chunk: int) -> None:
    latents = torch.randn(2, 8, (frames - 1) // 8 + 1, 2, 3, generator=torch.Generator().manual_seed(frames))
    assert off(decode_pixels(each_vae, latents, memory=VaeMemory(chunk)), decode_pixels(each_vae, latents)) <= ROUNDING


@pytest.mark.parametrize("chunk", [TEMPORAL_ROLL, 2])
def test_a_causal_decoder_in_chunks_too(chunk: int) -> None:
    vae = build("2.0")
    vae.decoder.is_causal = True
    latents = torch.randn(1, 8, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    whole = decode_pixels(vae, latents)
    assert off(decode_pixels(vae, latents, memory=VaeMemory(chunk)), whole) <= ROUNDING
    vae.decoder.is_causal = False
    assert off(whole, decode_pixels(vae, latents)) > 0.01


def test_the_whole_pass_is_diffusers_own(each_vae: Any) -> None:
    clip = pixels(9)
    latents = encode_pixels(each_vae, clip)
    assert latents.equal(each_vae.encode(clip, return_dict=False)[0].mode())
    assert decode_pixels(each_vae, latents).equal(each_vae.decode(latents, return_dict=False)[0])


def test_bytes_in_chunks(each_vae: Any) -> None:
    frames = (pixels(17)[0].permute(1, 2, 3, 0) * 127.5 + 127.5).to(torch.uint8)
    chunks = VaeMemory(chunk_frames=1)
    latent = encode_video(each_vae, frames)
    assert off(encode_video(each_vae, frames, memory=chunks), latent) <= ROUNDING
    whole, chunked = decode_video(each_vae, latent), decode_video(each_vae, latent, memory=chunks)
    assert whole.dtype == chunked.dtype == torch.uint8
    assert (whole.int() - chunked.int()).abs().max() <= 1


def test_one_clip_of_a_batch_at_a_time(each_vae: Any) -> None:
    clips, sliced = pixels(9, batch=3), VaeMemory(slicing=True)
    latents = encode_pixels(each_vae, clips)
    assert off(encode_pixels(each_vae, clips, memory=sliced), latents) <= ROUNDING
    assert off(decode_pixels(each_vae, latents, memory=sliced), decode_pixels(each_vae, latents)) <= ROUNDING


def test_chunks_in_bfloat16_are_as_near_as_its_rounding() -> None:
    vae = build("2.3").to(torch.bfloat16)
    clip = pixels(17)
    right = encode_pixels(vae.to(torch.float32), clip)
    rounding = (encode_pixels(vae.to(torch.bfloat16), clip) - right).norm()
    assert (encode_pixels(vae, clip, memory=VaeMemory(1)) - right).norm() < 1.2 * rounding


def test_an_interrupted_clip_leaves_nothing_behind() -> None:
    """State lives with the clip: the next one starts anew, and the VAE's modules are as they were."""
    vae, clip = build("2.0"), pixels(25)
    whole = encode_pixels(vae, clip)
    calls = 0

    def interrupt(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    before = [vars(module).keys() for module in vae.modules()]
    handle = vae.encoder.conv_out.conv.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        encode_pixels(vae, clip, memory=VaeMemory(1))
    handle.remove()
    assert [vars(module).keys() for module in vae.modules()] == before
    assert encode_pixels(vae, clip).equal(whole)
    assert off(encode_pixels(vae, clip, memory=VaeMemory(1)), whole) <= ROUNDING


@pytest.mark.parametrize("work", ["encode", "decode"])
def test_chunks_take_less_memory(each_vae: Any, work: str) -> None:
    peaks = []
    for memory in (VaeMemory(), VaeMemory(2), VaeMemory(TEMPORAL_ROLL)):
        with Allocations() as allocated:
            if work == "encode":
                encode_video(each_vae, torch.zeros(33, 64, 96, 3, dtype=torch.uint8), memory=memory)
            else:
                decode_video(each_vae, torch.zeros(8, 5, 2, 3), memory=memory)
        peaks.append(allocated.peak)
    assert peaks[0] > peaks[1] > peaks[2]
    assert peaks[0] > 1.5 * peaks[2]


def _norm_over_time(vae: Any) -> None:
    vae.encoder.mid_block.resnets[0].norm1 = torch.nn.GroupNorm(1, 32)


def _sees_the_future(vae: Any) -> None:
    vae.encoder.is_causal = False


def _strides(vae: Any) -> None:
    vae.encoder.conv_in.conv.stride = (2, 1, 1)


def _noise(vae: Any) -> None:
    vae.decoder.mid_block.resnets[0].per_channel_scale1 = NOISY


@pytest.mark.parametrize("change", [_norm_over_time, _sees_the_future, _strides, _noise])
def test_what_chunks_could_not_equal_is_refused(change: Any) -> None:
    vae = build("2.0")
    change(vae)
    with pytest.raises(ConfigError, match="chunk_frames"):
        decode_pixels(vae, encode_pixels(vae, pixels(1), memory=VaeMemory(1)), memory=VaeMemory(1))


@given(latent_frames=st.integers(1, 60), chunk=st.integers(1, 70))
def test_pixel_chunks_end_where_latent_frames_do(latent_frames: int, chunk: int) -> None:
    num_frames = LatentShape(latent_frames, 1, 1).pixels().frames
    spans = pixel_spans(num_frames, chunk)
    assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert spans[-1][1] == num_frames
    assert all(0 < end - start <= chunk * TIME_STRIDE and end % TIME_STRIDE == 1 for start, end in spans)


def test_frames_that_never_came_are_a_bug() -> None:
    waiting = Waiting()
    waiting.put(torch.zeros(1, 1, 2, 1, 1))
    with pytest.raises(RuntimeError, match="3 frames are wanted and 2"):
        waiting.take(3)


@pytest.mark.parametrize(
    "sizes",
    [{"chunk_frames": 0}, {"tile": 100}, {"tile": 0}, {"tile": 64, "overlap": 64}, {"tile": 128, "overlap": 16}],
)
def test_impossible_sizes_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        VaeMemory(**sizes)
