"""Renders are written and measured beside the GPU's work."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from ltx_core.errors import StorageError
from ltx_core.io.digest import is_vouched
from ltx_core.media import mp4
from ltx_core.media.frames import decode_frames
from ltx_core.sampling.request import RenderRequest
from tasks.runtime.shared import Shared
from tasks.runtime.stage import StageRun
from tasks.runtime.workspace import Workspace
from tasks.stages.render import finishing
from tasks.stages.render.config import RenderValidationConfig
from tasks.stages.render.finishing import DecodedRender, finished_rows
from tasks.stages.render.jobs import RenderJob, Variant
from tasks.stages.render_validation import RenderValidation

SHAPE = (9, 64, 64)
FRAME_RATE = 25.0
PATIENT = 30.0
"""Seconds, for a machine that has much else to do."""


@pytest.fixture
def run(tmp_path: Path) -> StageRun[RenderValidationConfig]:
    return StageRun(
        stage=RenderValidation(),
        config=RenderValidationConfig(),
        shared=Shared.model_construct(),
        inputs={},
        workspace=Workspace(tmp_path),
    )


def job(folder: Path, variant: Variant) -> RenderJob:
    frames, height, width = SHAPE
    request = RenderRequest(prompt="A ball.", width=width, height=height, num_frames=frames, frame_rate=FRAME_RATE)
    return RenderJob(variant, variant, "", request, None, (), folder / "none.safetensors", folder / f"{variant}.mp4")


def decoded(of: RenderJob, level: int) -> DecodedRender:
    frames = np.full((*SHAPE, 3), level, np.uint8)
    return DecodedRender(of, frames, np.zeros((2, 8640), np.float32), 24_000)


def shown(video: Path) -> np.ndarray:
    return np.stack(list(decode_frames(video, [(n + 0.25) / FRAME_RATE for n in range(SHAPE[0])])))


def test_files_are_written_while_the_next_render_is_made(
    run: StageRun[RenderValidationConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file is not begun before the second render is asked for; rows come in the jobs' order all the same."""
    base, candidate = job(tmp_path, "base"), job(tmp_path, "candidate")
    goes_on = Event()

    def write(*arguments: object, **options: object) -> None:
        assert goes_on.wait(PATIENT), "nobody asks for the second render while the first is written"
        mp4.write_mp4(*arguments, **options)  # type: ignore[arg-type]  # passed through

    def renders() -> Iterator[DecodedRender]:
        yield decoded(base, 100)
        goes_on.set()
        yield decoded(candidate, 150)

    monkeypatch.setattr(finishing, "write_mp4", write)
    monkeypatch.setattr(finishing, "default_workers", lambda: 2)
    rows = finished_rows([candidate, base], [base, candidate], renders(), run)
    assert [row.variant for row in rows] == ["candidate", "base"]
    delta = shown(candidate.video).astype(np.int16) - shown(base.video)
    assert rows[0].difference_from_base == float(np.abs(delta).mean() / 255) > 0.1
    assert rows[1].difference_from_base == 0.0
    kept = finished_rows([base, candidate], [], (), run)
    assert kept == rows[::-1], "what is there already is measured alike"


def test_a_failure_ends_it_and_is_told_of_its_render(
    run: StageRun[RenderValidationConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidate's thread, which waits for the base's file, ends too."""
    base, candidate = job(tmp_path, "base"), job(tmp_path, "candidate")

    def write(path: Path, *arguments: object, **options: object) -> None:
        if path == base.video:
            raise StorageError("no room")
        mp4.write_mp4(path, *arguments, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(finishing, "write_mp4", write)
    monkeypatch.setattr(finishing, "default_workers", lambda: 2)
    renders = [decoded(base, 100), decoded(candidate, 150)]
    with pytest.raises(StorageError, match="no room") as told:
        finished_rows([base, candidate], [base, candidate], renders, run)
    assert any(str(base.video) in note for note in told.value.__notes__)
    assert not is_vouched(base.video)
