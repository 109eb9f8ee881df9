"""What a plan says of footage that changed: which files."""

from pathlib import Path

import pytest

from tasks import stage_named
from tests.stages.bench import Bench, write_clip

pytestmark = pytest.mark.whole


def why(bench: Bench) -> str:
    return bench.due(stage_named("probe"), {}).decided.why


def test_changed_files_are_named(own: Bench, tmp_path: Path) -> None:
    own.run("probe")
    first, second, third, fourth, *_ = sorted(own.footage.glob("*.mp4"))
    assert why(own) == "unchanged"
    first.with_suffix(".txt").write_text("Another caption.")
    assert why(own) == f"changed: the caption of {first.name} changed"
    second.write_bytes(third.read_bytes())
    assert why(own) == f"changed: the caption of {first.name} changed, {second.name} changed"
    third.unlink()
    fourth.with_suffix(".txt").unlink()
    write_clip(own.footage, "zebra.mp4", "bouncing_ball")
    said = why(own).removeprefix("changed: ").split(", ")
    assert said[2:4] == [f"{third.name} is gone", f"the caption of {fourth.name} is gone and 1 more"]
