"""Video VAE, log-mel, audio VAE and vocoder."""

from typing import Any

import pytest
import torch

from ltx_core.autoencoder.audio import decode_audio, decode_mel, encode_audio, encode_mel, log_mel, mel_config, vocode
from ltx_core.autoencoder.video import decode_pixels, encode_pixels
from ltx_core.checkpoint.load import load_audio_vae, load_video_vae, load_vocoder

pytestmark = pytest.mark.numerics

FULL = {"device": "cpu", "dtype": torch.float32}
QUIET_LOG_MEL = -9.0
"""A magnitude of 1.2e-4."""
SOUND = {"most": 1e-3, "relative": 1e-4}


def packed(latents: torch.Tensor) -> torch.Tensor:
    """[B, C, A, M] to [B, A, C * M]."""
    return latents.transpose(1, 2).flatten(2)


def lengths(tensors: dict[str, torch.Tensor]) -> list[str]:
    return [name.removeprefix("pixels_") for name in tensors if name.startswith("pixels_")]


def test_video_encoder_equals_lightricks(video_vae_golden: Any, compare: Any) -> None:
    vae, tensors = load_video_vae(video_vae_golden.checkpoint("video_vae"), **FULL), video_vae_golden.tensors
    assert lengths(tensors)
    for length in lengths(tensors):
        compare(encode_pixels(vae, tensors[f"pixels_{length}"].float()), tensors[f"latents_{length}"])


def test_video_encoder_in_bfloat16_stays_near(video_vae_golden: Any, compare: Any) -> None:
    vae = load_video_vae(video_vae_golden.checkpoint("video_vae"), device="cpu", dtype=torch.bfloat16)
    length = lengths(video_vae_golden.tensors)[0]
    latents = encode_pixels(vae, video_vae_golden.tensors[f"pixels_{length}"].float())
    compare(latents, video_vae_golden.tensors[f"latents_{length}"], most=float("inf"), relative=2.5e-2)


def test_video_decoder_equals_lightricks(video_vae_golden: Any, compare: Any) -> None:
    vae, tensors = load_video_vae(video_vae_golden.checkpoint("video_vae"), **FULL), video_vae_golden.tensors
    compare(decode_pixels(vae, tensors["decoder_latents"]), tensors["decoder_pixels"])


@pytest.mark.parametrize(
    "name", ["latents_mean", "encoder.conv_in.conv.bias", "encoder.mid_block.resnets.0.conv2.conv.bias"]
)
def test_one_changed_video_tensor_is_seen(video_vae_golden: Any, compare: Any, name: str) -> None:
    vae, tensors = load_video_vae(video_vae_golden.checkpoint("video_vae"), **FULL), video_vae_golden.tensors
    vae.state_dict()[name].zero_()
    length = lengths(tensors)[0]
    with pytest.raises(AssertionError):
        compare(encode_pixels(vae, tensors[f"pixels_{length}"].float()), tensors[f"latents_{length}"])


def test_log_mel_equals_lightricks(audio_vae_golden: Any, compare: Any) -> None:
    """Loud places by their logarithm. Quiet ones, near the floor of 1e-5, by their magnitude as well: there float32's
    transform of the golden data is itself 1.3e-3 off the exact logarithm, and that of another processor 2.6e-3."""
    config, tensors = mel_config(audio_vae_golden.checkpoint().config), audio_vae_golden.tensors
    pairs = {"waveform_16k": "logmel_16k", "waveform_mono_16k": "logmel_mono_16k"}
    pairs["waveform_44100_resampled_16k"] = "logmel_44100"
    for waveform, name in pairs.items():
        found, expected = log_mel(tensors[waveform], config), tensors[name]
        loud = expected > QUIET_LOG_MEL
        compare(torch.where(loud, found, expected), expected, **SOUND)
        assert loud.float().mean() > 0.5
        assert torch.where(loud, 0.0, found.exp() - expected.exp()).abs().max() < 1e-7


def test_audio_encoder_equals_lightricks(audio_vae_golden: Any, compare: Any) -> None:
    checkpoint, tensors = audio_vae_golden.checkpoint("audio_vae"), audio_vae_golden.tensors
    vae = load_audio_vae(checkpoint, **FULL)
    names = [name.removeprefix("mel_") for name in tensors if name.startswith("mel_")]
    assert names
    for name in names:
        compare(encode_mel(vae, tensors[f"mel_{name}"]), tensors[f"tokens_{name}"])
        compare(encode_mel(vae, tensors[f"mel_{name}"]), packed(tensors[f"latents_{name}"]))


def test_sound_to_tokens_equals_lightricks_but_for_the_last(audio_vae_golden: Any, compare: Any) -> None:
    checkpoint, tensors = audio_vae_golden.checkpoint("audio_vae"), audio_vae_golden.tensors
    sound, expected = tensors["waveform_16k"][0], tensors["waveform_tokens_16k"][0]
    tokens = encode_audio(load_audio_vae(checkpoint, **FULL), sound, mel_config(checkpoint.config))
    assert len(tokens) == round(25 * sound.shape[1] / 16_000) == len(expected) - 1
    compare(tokens, expected[:-1])


def test_audio_decoder_equals_lightricks(audio_vae_golden: Any, compare: Any) -> None:
    vae, tensors = load_audio_vae(audio_vae_golden.checkpoint("audio_vae"), **FULL), audio_vae_golden.tensors
    compare(decode_mel(vae, packed(tensors["decoder_latents"])), tensors["decoder_mel"])


def test_vocoder_equals_lightricks(vocoder_golden: Any, compare: Any) -> None:
    vocoder, tensors = load_vocoder(vocoder_golden.checkpoint("vocoder"), **FULL), vocoder_golden.tensors
    names = [name for name in tensors if name.startswith("mel")]
    assert names
    for name in names:
        compare(vocode(vocoder, tensors[name]), tensors[name.replace("mel", "waveform")], **SOUND)


def test_loud_sound_needs_the_clamp(vocoder_golden: Any, compare: Any) -> None:
    """diffusers' conversion leaves the first stage unbounded; the comparison sees that."""
    tensors = vocoder_golden.tensors
    if "mel_loud" not in tensors:
        pytest.skip("this generation has no second stage")
    vocoder = load_vocoder(vocoder_golden.checkpoint("vocoder"), **FULL)
    vocoder.vocoder.final_act_fn = None
    compare(vocode(vocoder, tensors["mel"]), tensors["waveform"], **SOUND)
    with pytest.raises(AssertionError):
        compare(vocode(vocoder, tensors["mel_loud"]), tensors["waveform_loud"], **SOUND)


def test_tokens_to_sound_equals_lightricks(vocoder_golden: Any, compare: Any) -> None:
    if not vocoder_golden.checkpoint().stored.get("audio_vae"):
        pytest.skip("this checkpoint was copied without its audio VAE")
    checkpoint, tensors = vocoder_golden.checkpoint("audio_vae", "vocoder"), vocoder_golden.tensors
    vae, vocoder = load_audio_vae(checkpoint, **FULL), load_vocoder(checkpoint, **FULL)
    sound, rate = decode_audio(vae, vocoder, packed(tensors["latents"])[0])
    assert rate == vocoder_golden.about["sampling_rate"]
    compare(sound, tensors["decoded_waveform"], **SOUND)
