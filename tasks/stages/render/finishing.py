"""From decoded pixels to mp4 files and their figures, in threads, while the GPU works on the next render. No torch.

x264, ffmpeg's decoders and NumPy let other threads run while they work, so threads are enough.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import numpy.typing as npt

from datasets_spec import Render
from ltx_core.io.digest import file_digest, vouch
from ltx_core.media.errors import MediaError
from ltx_core.media.mp4 import RENDER_THREADS, write_mp4
from ltx_core.media.workers import WAIT_SECONDS, Leaving, Window, default_workers, run_ahead
from ltx_core.progress import stop_if_asked
from ltx_core.sampling.request import RenderRequest
from tasks.runtime.stage import StageRun
from tasks.stages.render.config import RenderValidationConfig
from tasks.stages.render.jobs import RenderJob
from tasks.stages.render.results import measured_row

AHEAD_BYTES = 2 * 2**30
"""Of host memory for renders or samples that are being written and measured; a single one may take more."""


@dataclass(frozen=True)
class DecodedRender:
    """A render that is no file yet."""

    job: RenderJob
    frames: npt.NDArray[np.uint8]
    """[F, H, W, 3] RGB."""
    audio: npt.NDArray[np.float32]
    """[2, N]"""
    audio_rate: int


@dataclass(frozen=True)
class _Finisher:
    """State that the threads share."""

    run: StageRun[RenderValidationConfig]
    base: Mapping[tuple[str, RenderRequest], RenderJob]
    """The base model's render of each request, if it is rendered."""
    to_write: Mapping[str, Event] = field(default_factory=dict)
    """By the keys of renders whose files are still to be written; set once one is."""

    def __call__(self, item: RenderJob | DecodedRender, leaving: Leaving) -> Render:
        """Write the render's file, if it is not there yet, and read its figures from it."""
        job = item.job if isinstance(item, DecodedRender) else item
        try:
            if isinstance(item, DecodedRender):
                self._write(item)
            reference = self.base.get(job.same_request, job)
            self._wait_for(reference, leaving)
            return measured_row(job, reference.video, self.run.workspace.relative(job.video), file_digest(job.video))
        except Exception as error:
            error.add_note(f"This happened to {job.video}: {job.variant} of {job.request.prompt[:60]!r}.")
            raise

    def _write(self, made: DecodedRender) -> None:
        job = made.job
        rate = job.request.frame_rate
        write_mp4(job.video, made.frames, rate, made.audio, made.audio_rate, threads=RENDER_THREADS)
        vouch(job.video)
        self.to_write[job.key].set()

    def _wait_for(self, job: RenderJob, leaving: Leaving) -> None:
        """Until its file is whole. It was begun before, so that this ends; where it failed, `leaving` is set."""
        written = self.to_write.get(job.key)
        while written is not None and not written.wait(WAIT_SECONDS):
            leaving.check()


def finished_rows(
    jobs: Sequence[RenderJob],
    missing: Sequence[RenderJob],
    decoded: Iterable[DecodedRender],
    run: StageRun[RenderValidationConfig],
) -> list[Render]:
    """The row of every job, once `decoded`, which gives those that are `missing`, is through: a base model's render
    before those that are compared with it. It goes on while files are written and measured.

    Raises:
        StorageError: the disk is full; names the file.
        Stopped: asked to stop; whole files are kept.
    """
    wanted = {job.key for job in missing}
    base = {job.same_request: job for job in jobs if job.variant == "base"}
    finisher = _Finisher(run, base, {key: Event() for key in wanted})

    def items() -> Iterator[RenderJob | DecodedRender]:
        yield from decoded
        yield from (job for job in jobs if job.key not in wanted)

    results = run_ahead(
        items(),
        finisher,
        size=_num_bytes,
        window=Window(default_workers(), AHEAD_BYTES),
        check=lambda: stop_if_asked(run.progress, "measuring renders"),
        apart=MediaError,
    )
    rows: dict[str, Render] = {}
    with closing(results) as found:
        for _, row in found:
            if isinstance(row, MediaError):
                raise row
            rows[row.render_key] = row
    return [rows[job.key] for job in jobs]


def _num_bytes(item: RenderJob | DecodedRender) -> int:
    """The pixels as they were made, and as they are read back."""
    request = (item.job if isinstance(item, DecodedRender) else item).request
    return 2 * 3 * request.num_frames * request.height * request.width
