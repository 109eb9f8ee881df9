"""Latents to pixels and samples of sound; the second phase, which needs the VAEs and the vocoder alone."""

import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from torch import Tensor

from ltx_core.autoencoder.audio import decode_audio
from ltx_core.autoencoder.memory import WHOLE, VaeMemory
from ltx_core.autoencoder.video import decode_video
from ltx_core.errors import ShapeError
from ltx_core.sampling.latents import SampledLatents
from ltx_core.sampling.request import RenderRequest


def decode(
    vae: AutoencoderKLLTX2Video,
    audio_vae: AutoencoderKLLTX2Audio,
    vocoder: LTX2Vocoder | LTX2VocoderWithBWE,
    latents: SampledLatents,
    request: RenderRequest,
    *,
    memory: VaeMemory = WHOLE,
) -> tuple[Tensor, Tensor, int]:
    """Frames uint8 [F, H, W, 3], sound float32 [2, N], and the sound's samples per second, all on the CPU.

    The sound is exactly as long as the picture: N = round(frames / frame_rate * rate). A latents give
    4 A - 3 mel frames of 10 ms, so the vocoder's sound is 10 to 50 ms short, and is followed by silence.

    Raises:
        ShapeError: the latents are not those of this request.
    """
    frames = decode_video(vae, latents.video, memory=memory).cpu()
    wanted = [request.num_frames, request.height, request.width, 3]
    if list(frames.shape) != wanted:
        raise ShapeError(f"decoded frames are {list(frames.shape)}; the request wants {wanted}. Delete its latents.")
    sound, rate = decode_audio(audio_vae, vocoder, latents.audio)
    return frames, fit_sound(sound.float().cpu(), round(request.seconds * rate)), rate


def fit_sound(sound: Tensor, num_samples: int) -> Tensor:
    """[2, N] cut or followed by silence to [2, `num_samples`]."""
    missing = max(num_samples - sound.shape[-1], 0)
    return torch.nn.functional.pad(sound, (0, missing))[..., :num_samples].contiguous()
