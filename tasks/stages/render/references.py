"""Videos that renders are conditioned on: the pixels that their latents are made of, and files of control videos for
the gallery. No torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets_spec.rows import reference_numbers
from ltx_core.media.clip import clip_files, clip_frames, clip_reference
from ltx_core.media.mp4 import RENDER_THREADS, write_mp4
from ltx_core.media.reference import Pixels, derived_reference, read_reference
from ltx_core.media.workers import read_unchanged
from ltx_core.progress import stop_if_asked
from ltx_core.sampling.request import RenderRequest
from tasks.runtime.stage import StageRun
from tasks.stages.render.conditioning import ConditioningSource
from tasks.stages.render.config import RenderValidationConfig
from tasks.stages.render.jobs import RenderJob

FOLDER = "controls"
"""In the stage's folder."""
AUDIO_RATE = 48_000
"""Of a file that has none."""


def control_frames(control: ConditioningSource, request: RenderRequest) -> Pixels:
    """The frames of a control file, or of a video that is kept, at the times of the render's: uint8 [F, H, W, 3],
    smaller by `control.scale`.

    Raises:
        MediaError: the file cannot be decoded, or is shorter than the render.
    """
    assert control.file is not None  # of a clip they are encoded already
    numbers = reference_numbers(control.num_frames or request.num_frames, control.scale.time)
    times = [control.start_seconds + number / request.frame_rate for number in numbers]
    size = request.width // control.scale.space, request.height // control.scale.space
    if control.derive is None:
        return read_reference(control.file, times, size)
    return derived_reference(read_reference(control.file, times, (request.width, request.height)), control.derive, size)


def given_frames(source: ConditioningSource, request: RenderRequest, run: StageRun[RenderValidationConfig]) -> Pixels:
    """The frames of a whole video that a render keeps: uint8 [F, H, W, 3].

    Raises:
        MediaError: it cannot be decoded any more.
        ChangedError: it is another than the one that names the render.
    """
    clip = source.clip
    if clip is not None:
        return read_unchanged({Path(clip.path): clip.media_key}, run.memo, lambda: clip_frames(clip))
    frames = control_frames(source, request)
    run.memo.check(_file(source))
    return frames


def write_controls(jobs: Sequence[RenderJob], run: StageRun[RenderValidationConfig]) -> dict[str, str]:
    """Write the control video of every render that has one, each once, for people to look at beside it.

    Returns:
        The files, relative to the workspace, by the keys of the renders.

    Raises:
        MediaError: a control cannot be decoded any more.
        StorageError: the disk is full or cannot be written.
    """
    found: dict[str, str] = {}
    for job in jobs:
        if job.conditioning is None or not job.conditioning.follows:
            continue
        control = job.conditioning.control
        path = run.out / FOLDER / f"{control.key[:16]}-{job.request.width}x{job.request.height}.mp4"
        if not path.is_file():
            stop_if_asked(run.progress, "writing control videos")
            path.parent.mkdir(parents=True, exist_ok=True)
            numbers = reference_numbers(job.request.num_frames, control.scale.time)
            shown = np.searchsorted(numbers, np.arange(job.request.num_frames), side="right") - 1  # until the next one
            frames = _frames(control, job.request, run)[shown]
            write_mp4(path, frames, job.request.frame_rate, None, AUDIO_RATE, threads=RENDER_THREADS)
        found[job.key] = run.workspace.relative(path)
    return found


def _frames(control: ConditioningSource, request: RenderRequest, run: StageRun[RenderValidationConfig]) -> Pixels:
    clip = control.clip
    if clip is None:
        frames = control_frames(control, request)
        run.memo.check(_file(control))
        return frames
    made: Pixels | None = read_unchanged(clip_files(clip), run.memo, lambda: clip_reference(clip))
    assert made is not None  # only such clips are taken
    return made


def _file(control: ConditioningSource) -> Path:
    assert control.file is not None  # what is no clip is a file
    return control.file
