import math
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ltx_core.autoencoder.audio import (
    FLOOR,
    MelConfig,
    decode_audio,
    decode_mel,
    encode_audio,
    encode_mel,
    log_mel,
    mel_config,
    mel_filters,
)
from ltx_core.checkpoint.model import Model
from ltx_core.errors import ShapeError
from ltx_core.shapes import audio_latent_frames, audio_samples


def tone(hertz: float, samples: int = 8000) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(samples) / 16_000).expand(2, -1)


def test_the_header_describes_the_released_spectrogram(checkpoint: Model) -> None:
    assert mel_config(checkpoint.config) == MelConfig()


def test_filters_have_equal_area_and_rising_centres() -> None:
    filters = mel_filters(MelConfig())
    assert filters.shape == (64, 513)
    centres = filters.argmax(dim=1)
    assert (centres.diff() > 0).all()
    area = filters.sum(dim=1) * 16_000 / 1024
    torch.testing.assert_close(area, torch.ones(64), atol=0.03, rtol=0)


def test_filters_do_not_depend_on_who_asks_first() -> None:
    """They are kept for the process; a model that is planned on the meta device may be the first to ask."""
    expected = mel_filters(MelConfig())
    mel_filters.cache_clear()
    with torch.device("meta"), torch.inference_mode():
        found = mel_filters(MelConfig())
    assert torch.equal(found, expected)
    assert not found.is_inference()


@pytest.mark.parametrize("hertz", [440.0, 1000.0, 3000.0, 6000.0])
def test_a_tone_is_loudest_in_its_band(hertz: float) -> None:
    spectrogram = log_mel(tone(hertz)[None], MelConfig())
    assert spectrogram.shape == (1, 2, 51, 64)
    loudest = int(spectrogram[0, 0, 25].argmax())
    expected = int(mel_filters(MelConfig())[:, round(hertz / 16_000 * 1024)].argmax())
    assert abs(loudest - expected) <= 1


def test_magnitude_not_power() -> None:
    quiet, loud = (log_mel(gain * tone(1000)[None], MelConfig())[0, 0, 25].max() for gain in (0.1, 1.0))
    assert float(loud - quiet) == pytest.approx(math.log(10), abs=1e-3)


def test_silence_is_the_floor() -> None:
    assert log_mel(torch.zeros(1, 2, 1600), MelConfig()).unique().tolist() == pytest.approx([math.log(FLOOR)])


@pytest.mark.parametrize("samples", [640, 4000, 6000, 16_000, 20_001])
def test_tokens_are_as_many_as_inference_counts(audio_vae: Any, samples: int) -> None:
    sound = tone(440, samples)
    tokens = encode_audio(audio_vae, sound, MelConfig())
    assert tokens.shape == (audio_latent_frames(samples / 16_000), 32)
    assert tokens.equal(encode_mel(audio_vae, log_mel(sound[None], MelConfig()))[0, : len(tokens)])


@given(
    frames=st.integers(1, 150).map(lambda n: 8 * n + 1),
    rate=st.sampled_from([23.976, 24000 / 1001, 25.0, 29.97, 30.0, 47.952, 50.0, 59.94, 120.0]) | st.floats(5, 120),
)
@example(frames=281, rate=47.952)
@example(frames=9, rate=30.0)
@example(frames=465, rate=50.0)
def test_a_sound_of_any_clip_has_as_many_tokens_as_its_seconds(frames: int, rate: float) -> None:
    """Training and sampling count by seconds, the VAE by the samples that they were cut to."""
    seconds = frames / rate
    samples = audio_samples(seconds)
    wanted = audio_latent_frames(seconds)
    assert wanted == max(round(25 * seconds), 1)
    assert audio_latent_frames(samples / 16_000) == wanted
    assert abs(samples - 16_000 * seconds) <= 1.5
    assert (samples // 160 + 1 + 3) // 4 >= wanted  # the VAE makes no fewer


def test_an_odd_rate_is_encoded_to_what_training_wants(audio_vae: Any) -> None:
    assert audio_latent_frames(281 / 47.952) == 147
    assert len(encode_audio(audio_vae, tone(440, audio_samples(281 / 47.952)), MelConfig())) == 147


def test_channels_lie_before_mel_bins_in_a_token(audio_vae: Any) -> None:
    """One channel of the latent scaled through the statistics fills one run of 16 entries."""
    spectrogram = torch.randn(1, 2, 12, 64, generator=torch.Generator().manual_seed(0))
    latent = audio_vae.encode(spectrogram, return_dict=False)[0].mode()
    tokens = encode_mel(audio_vae, spectrogram)[0] * audio_vae.latents_std + audio_vae.latents_mean
    torch.testing.assert_close(tokens[2, 16:], latent[0, 1, 2], atol=1e-5, rtol=1e-5)


@pytest.mark.whole
def test_tokens_become_sound_at_the_vocoders_rate(audio_vae: Any, vocoder: Any) -> None:
    tokens = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    sound, rate = decode_audio(audio_vae, vocoder, tokens)
    assert decode_mel(audio_vae, tokens[None]).shape == (1, 2, 17, 64)
    assert sound.shape == (2, 17 * rate // 100)
    assert sound.abs().max() <= 1
    assert rate in (24_000, 48_000)


@pytest.mark.parametrize("sound", [torch.zeros(1, 16_000), torch.zeros(16_000), torch.zeros(2, 500)])
def test_sound_of_another_shape_is_refused(audio_vae: Any, sound: torch.Tensor) -> None:
    with pytest.raises(ShapeError):
        encode_audio(audio_vae, sound, MelConfig())
