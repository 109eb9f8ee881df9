"""Which checkpoint is the best of a run, and where that is told."""

from pathlib import Path

import pytest

from datasets_spec import Checkpoint, Manifest, manifest_table
from ltx_core.io.table_file import write_table
from tasks.stages.render.jobs import best_checkpoint, final_checkpoint


def manifest(path: Path, losses: dict[str, float | None]) -> Manifest[Checkpoint]:
    rows = [
        Checkpoint(name=name, step=step, eval_loss=loss, base_eval_loss=2.0, sha256=f"{step:032x}", file=f"{name}.st")
        for step, (name, loss) in enumerate(losses.items())
    ]
    write_table(path / "manifest.parquet", manifest_table(Checkpoint, rows))
    return Manifest(path / "manifest.parquet", Checkpoint)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ({"step-000001": 1.0, "step-000002": 0.5, "final": 0.7}, "step-000002"),
        ({"step-000001": 0.5, "step-000002": 0.5, "final": 0.7}, "step-000001"),
        ({"step-000001": None, "final": None}, "final"),
        ({"step-000001": None, "final": 0.7}, "final"),
    ],
)
def test_best_is_the_lowest_measured(losses: dict[str, float | None], best: str, tmp_path: Path) -> None:
    found = manifest(tmp_path, losses)
    assert best_checkpoint(found).name == best
    assert final_checkpoint(found).name == "final"
