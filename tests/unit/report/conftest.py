"""Real mp4s, small."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from ltx_core.report.page import Cell, Figures, PromptRow, Section, VariantRender, renders, run_report

FIGURES = Figures(sharpness=0.01, motion=0.02, loudness_db=-20.0)


def grey(level: int) -> np.ndarray:
    """Frames uint8 [3, 32, 64, 3] of one level."""
    return np.full((3, 32, 64, 3), level, np.uint8)


def gallery(
    path: Path, title: str, facts: Mapping[str, Cell], rows: Sequence[PromptRow], sections: Sequence[Section] = ()
) -> None:
    """A page of renders, as `render_validation` writes it."""
    run_report(path, title, facts, [*sections, Section("Renders", renders(rows, path))])


@pytest.fixture
def video(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        path = tmp_path / "videos" / name
        path.parent.mkdir(exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=24)
            stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
            for frame in grey(90):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture
def row_of(video: Callable[[str], Path]) -> Callable[..., PromptRow]:
    """One prompt with a base and a candidate, some fields of the row changed."""

    def make(**changes: object) -> PromptRow:
        changed = Figures(sharpness=0.02, motion=0.01, loudness_db=-14.5, difference_from_base=0.125)
        fields: dict[str, object] = {
            "prompt": "a robot",
            "seed": 42,
            "settings": {"Steps": 30},
            "renders": [
                VariantRender(variant="base", video=video("a base.mp4"), figures=FIGURES),
                VariantRender(variant="candidate", video=video("a #1.mp4"), figures=changed, poster=grey(9)[0]),
            ],
        }
        return PromptRow(**{**fields, **changes})  # type: ignore[arg-type]  # changes are any field's

    return make
