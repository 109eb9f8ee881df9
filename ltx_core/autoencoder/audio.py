"""Sound to normalised audio tokens and back. Tokens are channel-major: index channel * mel + mel bin."""

import torch
from diffusers import AutoencoderKLLTX2Audio
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE

from ltx_core.autoencoder.mel import MelConfig, log_mel
from ltx_core.errors import ShapeError
from ltx_core.shapes import audio_latent_frames


def encode_audio(audio_vae: AutoencoderKLLTX2Audio, sound: torch.Tensor, mel: MelConfig) -> torch.Tensor:
    """Stereo sound [2, N] at the VAE's rate to normalised tokens [A, C], float32.

    The VAE gives one token more than Lightricks' inference counts for most lengths; the last ones are dropped, so that
    training sees the lengths that sampling asks for.

    Raises:
        ShapeError: the sound is not stereo, or shorter than half a window.
    """
    if sound.ndim != 2 or sound.shape[0] != 2:
        raise ShapeError(f"sound is {list(sound.shape)}; [2, N] is wanted. Duplicate a mono channel.")
    spectrogram = log_mel(sound[None].to(audio_vae.device), mel)
    wanted = audio_latent_frames(sound.shape[1] / mel.sample_rate)
    return encode_mel(audio_vae, spectrogram)[0, :wanted]


def decode_audio(
    audio_vae: AutoencoderKLLTX2Audio, vocoder: LTX2Vocoder | LTX2VocoderWithBWE, tokens: torch.Tensor
) -> tuple[torch.Tensor, int]:
    """Normalised tokens [A, C] to sound [2, N], float32 in [-1, 1], and its samples a second."""
    sound = vocode(vocoder, decode_mel(audio_vae, tokens[None]))[0]
    return sound, int(vocoder.config.output_sampling_rate)


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
    """Log-mel [B, 2, T, M] to sound [B, 2, N], float32."""
    sound: torch.Tensor = vocoder(spectrogram.to(vocoder.device, vocoder.dtype))
    return sound.float()
