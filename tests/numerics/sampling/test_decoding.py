"""From sampled latents to frames and sound that are equally long."""

import pytest
import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video
from diffusers.pipelines.ltx2 import LTX2Vocoder

from ltx_core.errors import ShapeError
from ltx_core.sampling.decoding import SampledLatents, decode, fit_audio
from ltx_core.sampling.request import RenderRequest

pytestmark = pytest.mark.numerics


def request(num_frames: int, frame_rate: float) -> RenderRequest:
    return RenderRequest(prompt="a cat", width=64, height=32, num_frames=num_frames, frame_rate=frame_rate)


def latents(of: RenderRequest) -> SampledLatents:
    generator = torch.Generator().manual_seed(0)
    return SampledLatents(
        torch.randn(8, *of.grid, generator=generator), torch.randn(of.audio_tokens, 16, generator=generator)
    )


@pytest.mark.parametrize(("num_frames", "frame_rate"), [(9, 24.0), (17, 25.0), (9, 29.97), (25, 23.976)])
def test_sound_is_as_long_as_the_picture(
    vae: AutoencoderKLLTX2Video,
    audio_vae: AutoencoderKLLTX2Audio,
    vocoder: LTX2Vocoder,
    num_frames: int,
    frame_rate: float,
) -> None:
    wanted = request(num_frames, frame_rate)
    frames, sound, rate = decode(vae, audio_vae, vocoder, latents(wanted), wanted)
    assert frames.shape == (num_frames, 32, 64, 3)
    assert frames.dtype == torch.uint8
    assert rate == 24000
    assert sound.dtype == torch.float32
    assert sound.shape == (2, round(num_frames / frame_rate * rate))
    assert sound.isfinite().all()


def test_same_latents_same_bytes(
    vae: AutoencoderKLLTX2Video, audio_vae: AutoencoderKLLTX2Audio, vocoder: LTX2Vocoder
) -> None:
    wanted = request(9, 24.0)
    first, second = (decode(vae, audio_vae, vocoder, latents(wanted), wanted) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_latents_of_another_request_are_refused(
    vae: AutoencoderKLLTX2Video, audio_vae: AutoencoderKLLTX2Audio, vocoder: LTX2Vocoder
) -> None:
    with pytest.raises(ShapeError, match="wants \\[17, 32, 64, 3\\]"):
        decode(vae, audio_vae, vocoder, latents(request(9, 24.0)), request(17, 24.0))


@pytest.mark.parametrize("num_samples", [3, 5, 8])
def test_fit_sound(num_samples: int) -> None:
    sound = torch.arange(1.0, 11.0).view(2, 5)
    fitted = fit_audio(sound, num_samples)
    kept = min(num_samples, 5)
    assert fitted.shape == (2, num_samples)
    assert torch.equal(fitted[:, :kept], sound[:, :kept])
    assert not fitted[:, kept:].any()
