"""What is given beside the text, as latents. Needs torch when imported."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ltx_core.autoencoder.audio import encode_audio
from ltx_core.autoencoder.mel import mel_config
from ltx_core.autoencoder.video import encode_video
from ltx_core.checkpoint.load import load_audio_vae, load_video_vae
from ltx_core.conditioning.first_frame import FirstFrame
from ltx_core.conditioning.kinds import Conditioning
from ltx_core.conditioning.mask import Mask, kept_places, outside
from ltx_core.conditioning.prefix import Prefix
from ltx_core.conditioning.sound import Sound
from ltx_core.errors import DataError
from ltx_core.media.picture import read_picture
from ltx_core.media.sound import decode_sound
from ltx_core.pool.source import PoolSource
from ltx_core.sampling.request import RenderRequest
from tasks.render_config import RenderValidationConfig
from tasks.render_given import Given
from tasks.render_jobs import RenderJob
from tasks.stage_run import StageRun

Encoded = dict[tuple[str, int, int, float], Tensor]


def encode_files(jobs: Sequence[RenderJob], checkpoint: Any, *, crf: int, device: str, dtype: torch.dtype) -> Encoded:
    """Latents of every picture [C, 1, H, W] and sound [A, D] that the jobs are given as files; the VAEs are gone after.
    Pictures are compressed at `crf` first, but not at 0.

    Raises:
        DataError: a file cannot be read.
    """
    wanted = {_place(job.given, job.request): job for job in jobs if job.given is not None and job.given.file}
    found: Encoded = {}
    encoders: dict[str, Callable[[Given, RenderRequest], Tensor]] = {}
    for place, job in sorted(wanted.items()):
        assert job.given is not None
        mode = job.given.mode
        if mode not in encoders:
            make = partial(_picture_encoder, crf=crf) if mode == "i2v" else _sound_encoder
            encoders[mode] = make(checkpoint, device=device, dtype=dtype)
        found[place] = encoders[mode](job.given, job.request).cpu()
    return found


def conditionings(job: RenderJob, source: PoolSource, encoded: Encoded, run: StageRun) -> list[Conditioning]:
    """What the job's mode is given beside the text."""
    given, request, config = job.given, job.request, run.config
    if given is None:
        return []
    if given.clip is None:
        latent = encoded[_place(given, request)]
        return [FirstFrame(latent, config.picture_strength) if given.mode == "i2v" else Sound(latent)]
    tensors = source.load(given.clip.clip_id)
    if given.mode == "s2v":
        return [Sound(tensors["audio"].float())]
    video = tensors["video"].float()
    if given.mode == "i2v":
        return [FirstFrame(video[:, :1], config.picture_strength)]
    if given.mode == "extend":
        return [Prefix(video[:, : config.extend_latent_frames])]
    return [Mask(video, _kept(request, run))]


def _kept(request: RenderRequest, run: StageRun) -> Tensor:
    """Which places [F, H, W] of the clip are kept: 1 kept, 0 made anew."""
    config: RenderValidationConfig = run.config
    if config.inpaint_mask is None:
        return outside(config.inpaint_region, request.grid)
    picture = torch.from_numpy(read_picture(config.inpaint_mask, (request.width, request.height)))
    run.memo.check(config.inpaint_mask)
    return kept_places(picture.float().mean(dim=-1) / 255, request.grid)


def _place(given: Given, request: RenderRequest) -> tuple[str, int, int, float]:
    """What a file's latent depends on besides the VAEs."""
    if given.mode == "i2v":
        return given.key, request.width, request.height, 0.0
    return given.key, 0, 0, request.seconds


def _picture_encoder(
    checkpoint: Any, *, crf: int, device: str, dtype: torch.dtype
) -> Callable[[Given, RenderRequest], Tensor]:
    vae = load_video_vae(checkpoint, device=device, dtype=dtype)

    def encode(given: Given, request: RenderRequest) -> Tensor:
        assert given.file is not None
        picture = read_picture(given.file, (request.width, request.height), crf=crf)
        return encode_video(vae, torch.from_numpy(picture)[None])

    return encode


def _sound_encoder(checkpoint: Any, *, device: str, dtype: torch.dtype) -> Callable[[Given, RenderRequest], Tensor]:
    """The audio VAE is always in float32, as for footage."""
    vae = load_audio_vae(checkpoint, device=device, dtype=torch.float32)
    mel = mel_config(checkpoint.config)

    def encode(given: Given, request: RenderRequest) -> Tensor:
        assert given.file is not None
        sound = decode_sound(given.file, given.start_seconds, request.seconds)
        if sound is None:
            raise DataError(f"{given.file} has no sound; give another file to prompts.sounds")
        return encode_audio(vae, torch.from_numpy(sound), mel)

    return encode
