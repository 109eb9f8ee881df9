"""Audio to normalised audio tokens and back. Tokens are channel-major: index channel * mel + mel bin."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from transformers.audio_utils import mel_filter_bank

from ltx_core.checkpoint.architecture import mel_section, wanted
from ltx_core.errors import ShapeError
from ltx_core.shapes import audio_latent_frames

FLOOR = 1e-5
"""Magnitudes below this count as this, so that silence has a logarithm."""


@dataclass(frozen=True)
class MelConfig:
    """Parameters of the spectrogram of audio; the released models use the defaults."""

    sample_rate: int = 16_000
    fft_size: int = 1024
    hop: int = 160
    mel_bins: int = 64
    lowest_hertz: float = 0.0
    highest_hertz: float = 8000.0


def mel_config(config: Mapping[str, Any]) -> MelConfig:
    """The spectrogram that the header's config describes.

    Raises:
        CheckpointError: the config lacks a value.
    """
    section = mel_section(config)
    return MelConfig(
        sample_rate=wanted(section["audio"], "sampling_rate"),
        fft_size=wanted(section["stft"], "filter_length"),
        hop=wanted(section["stft"], "hop_length"),
        mel_bins=wanted(section["mel"], "n_mel_channels"),
        lowest_hertz=float(wanted(section["mel"], "mel_fmin")),
        highest_hertz=float(wanted(section["mel"], "mel_fmax")),
    )


def log_mel(waveform: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """Audio [B, channels, N] in [-1, 1] to log-mel [B, channels, N // hop + 1, M], in float32.

    Magnitude (not power) of a centred Hann STFT padded by reflection, Slaney mel scale with Slaney normalisation,
    natural logarithm.

    Raises:
        ShapeError: fewer samples than half a window, which cannot be padded by reflection.
    """
    if waveform.ndim != 3 or waveform.shape[-1] <= config.fft_size // 2:
        raise ShapeError(
            f"audio is {list(waveform.shape)}; [B, channels, N] with more than {config.fft_size // 2} samples is wanted"
        )
    waves = waveform.float().flatten(0, 1)
    spectrum = torch.stft(
        waves,
        n_fft=config.fft_size,
        hop_length=config.hop,
        window=torch.hann_window(config.fft_size, device=waveform.device),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    mel = _filters_on(waveform.device, config) @ spectrum.abs()
    return mel.clamp(min=FLOOR).log().transpose(1, 2).unflatten(0, waveform.shape[:2])


@cache
def _filters_on(device: torch.device, config: MelConfig) -> torch.Tensor:
    """Copied once: a copy would be waited for at every call, and a CUDA graph cannot hold one."""
    with torch.inference_mode(mode=False):
        return mel_filters(config).to(device)


@cache
def mel_filters(config: MelConfig) -> torch.Tensor:
    """[M, fft_size // 2 + 1] triangular filters of equal area on the Slaney mel scale (Auditory Toolbox, 1998).

    On the CPU, whatever default device or inference mode is in force where they are first asked for: they are kept for
    all later askers.
    """
    bank = mel_filter_bank(
        num_frequency_bins=config.fft_size // 2 + 1,
        num_mel_filters=config.mel_bins,
        min_frequency=config.lowest_hertz,
        max_frequency=config.highest_hertz,
        sampling_rate=config.sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    with torch.inference_mode(mode=False):
        return torch.from_numpy(np.ascontiguousarray(bank.T, dtype=np.float32))


def encode_audio(audio_vae: AutoencoderKLLTX2Audio, waveform: torch.Tensor, mel: MelConfig) -> torch.Tensor:
    """Stereo audio [2, N] at the VAE's rate to normalised tokens [A, C], float32.

    The VAE gives one token more than Lightricks' inference counts for most lengths; the last ones are dropped, so that
    training sees the lengths that sampling asks for.

    Raises:
        ShapeError: the audio is not stereo, or shorter than half a window.
    """
    if waveform.ndim != 2 or waveform.shape[0] != 2:
        raise ShapeError(f"audio is {list(waveform.shape)}; [2, N] is wanted. Duplicate a mono channel.")
    spectrogram = log_mel(waveform[None].to(audio_vae.device), mel)
    wanted = audio_latent_frames(waveform.shape[1] / mel.sample_rate)
    return encode_mel(audio_vae, spectrogram)[0, :wanted]


def decode_audio(
    audio_vae: AutoencoderKLLTX2Audio, vocoder: LTX2Vocoder | LTX2VocoderWithBWE, tokens: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Normalised tokens [A, C] to audio [2, N], float32 in [-1, 1], and its samples a second."""
    waveform = vocode(vocoder, decode_mel(audio_vae, tokens[None]))[0]
    return waveform, int(vocoder.config.output_sampling_rate)


@torch.no_grad()
def encode_mel(audio_vae: AutoencoderKLLTX2Audio, spectrogram: torch.Tensor) -> torch.Tensor:
    """Log-mel [B, 2, T, M] to normalised tokens [B, ceil(T / 4), C], float32: the posterior's mean, packed."""
    posterior = audio_vae.encode(spectrogram.to(audio_vae.device, audio_vae.dtype), return_dict=False)[0]
    packed = posterior.mode().float().transpose(1, 2).flatten(2)
    return (packed - audio_vae.latents_mean.float()) / audio_vae.latents_std.float()


@torch.no_grad()
def decode_mel(audio_vae: AutoencoderKLLTX2Audio, tokens: torch.Tensor) -> torch.Tensor:
    """Normalised tokens [B, A, C] to log-mel [B, 2, 4 A - 3, M], float32."""
    packed = tokens.to(audio_vae.device).float() * audio_vae.latents_std.float() + audio_vae.latents_mean.float()
    latents = packed.unflatten(2, (audio_vae.config.latent_channels, -1)).transpose(1, 2)
    return audio_vae.decode(latents.to(audio_vae.dtype), return_dict=False)[0].float()


@torch.no_grad()
def vocode(vocoder: LTX2Vocoder | LTX2VocoderWithBWE, spectrogram: torch.Tensor) -> torch.Tensor:
    """Log-mel [B, 2, T, M] to audio [B, 2, N], float32."""
    waveform: torch.Tensor = vocoder(spectrogram.to(vocoder.device, vocoder.dtype))
    return waveform.float()
