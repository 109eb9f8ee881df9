"""A folder as it comes from cameras, other systems and other people: every file is a row, and none ends the run."""

import os
import shutil
from pathlib import Path

import pytest

from tasks.runtime.execute import read_quarantine
from tests.stages.bench import Bench, write_clip

pytestmark = pytest.mark.whole

NAMES = ("new\nline", "with 100%d #1? & 'quotes'", "日本語 🎬", "x" * 240, "[red]escape\x1b[1m")


@pytest.mark.timeout(300)
def test_odd_names_and_what_is_no_file(empty: Bench, footage: Path, tmp_path: Path) -> None:
    folder = tmp_path / "footage"
    folder.mkdir()
    for n, name in enumerate(NAMES):
        write_clip(folder, f"{n}.mp4", "rolling_ball", width=64 + 2 * n)
        (folder / f"{n}.mp4").rename(folder / f"{name}.mp4")
        (folder / f"{n}.txt").rename(folder / f"{name}.TXT")
    shutil.copy(footage / "rolling_ball.mp4", os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4"))
    (folder / "zero.mp4").symlink_to("/dev/zero")
    os.mkfifo(folder / "the pipe")
    (folder / "pipe.mp4").symlink_to(folder / "the pipe")
    shutil.copy(footage / "rolling_ball.mp4", folder / "piped caption.mp4")
    os.mkfifo(folder / "piped caption.txt")
    bench = empty.but(footage=folder, workspace=tmp_path / "workspace").set(limits__max_quarantined_fraction=0.9)
    bench = bench.set(split__remove_duplicates=False, split__contact_sheet_clips=24, datasets__0__eval_fraction=0)
    results = bench.run("split")
    assert sorted(row.relpath for row in results["probe"].manifest) == sorted(f"{name}.mp4" for name in NAMES)
    reasons = {row.source: row.reason.value for row in read_quarantine(results["probe"].manifest)}
    assert reasons == {
        r"caf\xe9.mp4": "unreadable",
        "zero.mp4": "unreadable",
        "pipe.mp4": "unreadable",
        "piped caption.mp4": "bad_caption",
    }
    assert len(results["split"].manifest) == len(NAMES)
    assert list(results["split"].run.out.glob("contact-sheet-*.png"))
    assert not any(result.built for result in bench.run("split").values())
