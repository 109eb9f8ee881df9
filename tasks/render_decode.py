"""Second phase of rendering: latents become mp4s. Needs torch when imported."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ltx_core.autoencoder.device_memory import describe, free_bytes, plan_decoding
from ltx_core.autoencoder.memory import VaeMemory
from ltx_core.checkpoint.load import load_audio_vae, load_video_vae, load_vocoder
from ltx_core.errors import DataError
from ltx_core.files.vouched import vouch
from ltx_core.media.mp4 import write_mp4
from ltx_core.media.sound import decode_sound
from ltx_core.media.unchanged import read_unchanged
from ltx_core.progress import stop_if_asked
from ltx_core.sampling.decoding import decode
from ltx_core.sampling.latents import load_latents
from ltx_core.shapes import PixelShape
from tasks.device import prepare_device, torch_dtype
from tasks.render_given import Given
from tasks.render_jobs import RenderJob
from tasks.stage_run import StageRun
from tasks.vae_memory import vae_options
from tasks.weights import open_weights

SOURCE_RATE = 48_000
"""A given sound is kept at this rate, better than the 16 kHz that the model hears."""


def decode_missing(jobs: Sequence[RenderJob], run: StageRun) -> None:
    """Decode the latents of every job to its mp4, H.264 with AAC sound."""
    if not jobs:
        return
    device = prepare_device(run.shared.memory)
    dtype = torch_dtype(run.config.dtype)
    checkpoint = open_weights(run.shared.model).checkpoint
    vae = load_video_vae(checkpoint, device=device, dtype=dtype)
    audio_vae = load_audio_vae(checkpoint, device=device, dtype=torch.float32)
    vocoder = load_vocoder(checkpoint, device=device, dtype=torch.float32)
    run.memo.check()
    plans: dict[PixelShape, VaeMemory] = {}
    for number, job in enumerate(jobs):
        stop_if_asked(run.progress, "decoding renders")
        shape = PixelShape(job.request.num_frames, job.request.height, job.request.width)
        if shape not in plans:
            plans[shape] = _planned(vae, shape, run)
        with torch.no_grad():
            latents = load_latents(job.latents)
            frames, sound, rate = decode(vae, audio_vae, vocoder, latents, job.request, memory=plans[shape])
        samples = sound.numpy()
        if job.given is not None and job.given.sound is not None:
            samples, rate = _given_sound(job.given, job.request.seconds, run), SOURCE_RATE
        write_mp4(job.video, frames.numpy(), job.request.frame_rate, samples, rate)
        vouch(job.video)
        run.progress.advance(number + 1, len(jobs), "renders decoded")


def _planned(vae: Any, shape: PixelShape, run: StageRun) -> VaeMemory:
    free = free_bytes(vae.device)
    plan = plan_decoding(vae, shape, vae_options(run.shared.memory))
    run.progress.note(describe(plan, shape, free))
    return plan.memory


def _given_sound(given: Given, seconds: float, run: StageRun) -> np.ndarray:
    """The sound that was given: the render follows it, so that is what is heard.

    Raises:
        DataError: the file no longer has it.
        ChangedError: a file of one's own is another than the one that names the render.
    """
    path, clip = given.sound, given.clip
    assert path is not None
    read = partial(decode_sound, path, given.start_seconds, seconds, rate=SOURCE_RATE)
    sound = read() if clip is None else read_unchanged({path: clip.sound_key or clip.media_key}, run.memo, read)
    run.memo.check(path)
    if sound is None:
        raise DataError(f"{path} had sound when the run began and has none now; run from `probe` again")
    return sound
