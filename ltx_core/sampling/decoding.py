"""Latents to pixels and samples of audio; the second phase, which needs the VAEs and the vocoder alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video
from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE
from torch import Tensor

from ltx_core.autoencoder.audio import decode_audio
from ltx_core.autoencoder.video import decode_video
from ltx_core.errors import DataError, ShapeError
from ltx_core.io.tensors import read_tensors, write_tensors
from ltx_core.media.spectrogram import spectrogram
from ltx_core.memory.plan import free_bytes, plan
from ltx_core.memory.video_vae import WHOLE, VaeMemory, VaeOptions, VaeWork
from ltx_core.sampling.request import RenderRequest
from ltx_core.shapes import PixelShape


@dataclass(frozen=True)
class SampledLatents:
    """The result of sampling one request."""

    video: Tensor
    """[C, F, H, W] fp32, normalised."""
    audio: Tensor
    """[A, D] fp32, normalised and packed."""


def save_latents(path: Path, latents: SampledLatents) -> None:
    """Write to `path`, whole or not at all.

    Raises:
        StorageError: the disk is full or read-only.
    """
    write_tensors(path, {"video": latents.video, "audio": latents.audio}, {})


def load_latents(path: Path) -> SampledLatents:
    """Read what `save_latents` wrote.

    Raises:
        CheckpointError: the file is no safetensors file.
        DataError: the file holds something else.
    """
    tensors, _ = read_tensors(path)
    if tensors.keys() != {"video", "audio"}:
        raise DataError(f"{path} holds {sorted(tensors)}, not sampled latents (video, audio); delete it, render again")
    return SampledLatents(tensors["video"], tensors["audio"])


def decode(
    vae: AutoencoderKLLTX2Video,
    audio_vae: AutoencoderKLLTX2Audio,
    vocoder: LTX2Vocoder | LTX2VocoderWithBWE,
    latents: SampledLatents,
    request: RenderRequest,
    *,
    memory: VaeMemory = WHOLE,
) -> tuple[Tensor, Tensor, int]:
    """Frames uint8 [F, H, W, 3], audio float32 [2, N], and the audio's samples per second, all on the CPU.

    The audio is exactly as long as the video: N = round(frames / frame_rate * rate). A latents give
    4 A - 3 mel frames of 10 ms, so the vocoder's audio is 10 to 50 ms short, and is followed by silence.

    Raises:
        ShapeError: the latents are not those of this request.
    """
    frames = decode_video(vae, latents.video, memory=memory, seed=request.seed).cpu()
    wanted = [request.num_frames, request.height, request.width, 3]
    if list(frames.shape) != wanted:
        raise ShapeError(f"decoded frames are {list(frames.shape)}; the request wants {wanted}. Delete its latents.")
    return frames, *_decoded_audio(audio_vae, vocoder, latents, request)


def _decoded_audio(
    audio_vae: AutoencoderKLLTX2Audio,
    vocoder: LTX2Vocoder | LTX2VocoderWithBWE,
    latents: SampledLatents,
    request: RenderRequest,
) -> tuple[Tensor, int]:
    waveform, rate = decode_audio(audio_vae, vocoder, latents.audio)
    return fit_audio(waveform.float().cpu(), round(request.seconds * rate)), rate


class Decoders:
    """The video VAE, the audio VAE and the vocoder, with a memory plan for each shape of renders."""

    def __init__(
        self,
        vae: AutoencoderKLLTX2Video,
        audio_vae: AutoencoderKLLTX2Audio,
        vocoder: LTX2Vocoder | LTX2VocoderWithBWE,
        *,
        asked: VaeOptions,
        note: Callable[[str], None],
    ) -> None:
        """`asked` are the options for the video VAE's memory; `note` gets a line for each plan."""
        self._vae, self._audio_vae, self._vocoder = vae, audio_vae, vocoder
        self._asked, self._note = asked, note
        self._plans: dict[PixelShape, VaeMemory] = {}

    def decode(self, latents: SampledLatents, request: RenderRequest) -> tuple[Tensor, Tensor, int]:
        """As the function `decode`, in as much memory as is free; of audio alone, the frames show its spectrogram.

        Raises:
            OutOfMemory: not even the leanest way fits.
            ShapeError: the latents are not those of this request.
        """
        if request.mode == "t2a":
            audio, rate = self.decode_audio(latents, request)
            shown = torch.from_numpy(spectrogram(audio.numpy(), request.width, request.height))
            return shown.expand(request.num_frames, -1, -1, -1), audio, rate
        shape = PixelShape(request.num_frames, request.height, request.width)
        if shape not in self._plans:
            work = VaeWork.of(self._vae, shape, decodes=True, asked=self._asked)
            found = plan(work, free_bytes(self._vae.device))
            self._note(found.why)
            self._plans[shape] = found.options
        with torch.no_grad():
            return decode(self._vae, self._audio_vae, self._vocoder, latents, request, memory=self._plans[shape])

    def decode_audio(self, latents: SampledLatents, request: RenderRequest) -> tuple[Tensor, int]:
        """The audio alone, and its samples per second, as the function `decode` gives them."""
        with torch.no_grad():
            return _decoded_audio(self._audio_vae, self._vocoder, latents, request)

    def move(self, device: str) -> None:
        """Bring all of it to a device. What is free there is then looked at again."""
        for module in (self._vae, self._audio_vae, self._vocoder):
            module.to(device)
        self._plans.clear()


def fit_audio(waveform: Tensor, num_samples: int) -> Tensor:
    """[2, N] cut or followed by silence to [2, `num_samples`]."""
    missing = max(num_samples - waveform.shape[-1], 0)
    return torch.nn.functional.pad(waveform, (0, missing))[..., :num_samples].contiguous()
