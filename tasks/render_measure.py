"""Figures of a render, measured on the mp4 that people will see."""

from pathlib import Path

import numpy as np

from datasets_spec import Render
from ltx_core.media.frames import decode_frames
from ltx_core.media.measure import loudness_db, motion, sharpness
from ltx_core.media.probe import probe_media
from ltx_core.media.sound import decode_sound
from tasks.render_jobs import RenderJob


def measured_row(job: RenderJob, reference: Path, file: str, sha256: str) -> Render:
    """The row of one render; `reference` is the base model's render of the same prompt and seed, or the same file."""
    request, info = job.request, probe_media(job.video)
    frames = _frames(job, job.video)
    sound = decode_sound(job.video, 0.0, request.seconds, rate=info.audio_rate)
    difference = 0.0
    if reference != job.video:
        delta = frames.astype(np.int16) - _frames(job, reference).astype(np.int16)
        difference = float(np.abs(delta).mean() / 255)
    return Render(
        render_key=job.key,
        variant=job.variant,
        mode=request.mode,
        adapters=job.run,
        clip_id=job.given.clip.clip_id if job.given and job.given.clip else None,
        given_file=str(job.given.file) if job.given and job.given.file else None,
        given_start_seconds=job.given.start_seconds if job.given else 0.0,
        prompt=request.prompt,
        seed=request.seed,
        num_frames=info.num_frames,
        width=info.width,
        height=info.height,
        frame_rate=request.frame_rate,
        audio_rate=info.audio_rate,
        sharpness=sharpness(frames),
        motion=motion(frames),
        loudness_db=loudness_db(sound),
        difference_from_base=difference,
        sha256=sha256,
        file=file,
    )


def _frames(job: RenderJob, video: Path) -> np.ndarray:
    times = [(i + 0.25) / job.request.frame_rate for i in range(job.request.num_frames)]
    return np.stack(list(decode_frames(video, times)))
