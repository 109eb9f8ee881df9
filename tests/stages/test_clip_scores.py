"""`render_validation.clip_model`: every render scored against its prompt, once, and shown."""

from pathlib import Path

import pytest

from datasets_spec import Render
from ltx_core.errors import CheckpointError
from tests.clip_model import write_clip
from tests.stages.bench import Bench, Results

pytestmark = pytest.mark.whole


def rows(results: Results) -> dict[str, Render]:
    return {row.variant: row for row in results["render_validation"].manifest}


def test_renders_are_scored_once_and_the_score_is_shown(bench: Bench, results: Results, tmp_path: Path) -> None:
    assert {row.clip_score for row in rows(results).values()} == {None}, "not asked for"
    judged = bench.set(render_validation__clip_model=str(write_clip(tmp_path / "clip")))
    made = judged.run("register")
    summary, scored = made["render_validation"].summary, rows(made)
    assert summary.computed == 0, "no render is made again"
    assert scored["candidate"].clip_score is not None
    assert summary.figures["clip_score"] == scored["candidate"].clip_score
    assert summary.figures["clip_score_of_base"] == scored["base"].clip_score
    folder = made["render_validation"].manifest.path.parent
    assert (folder / "gallery.html").read_text().count("CLIP score") == 2
    card = (made["register"].manifest.path.parent / "model-card.md").read_text()
    assert f"| {scored['candidate'].clip_score:.2f} |" in card

    kept = {path: path.stat().st_mtime_ns for path in (bench.workspace / "pool" / "clip_scores").rglob("*.json")}
    assert len(kept) == 2
    moved = bench.set(render_validation__clip_model=str((tmp_path / "clip").rename(tmp_path / "moved")))
    assert not moved.run("register")["render_validation"].built, "the same model elsewhere is the same judge"

    other = bench.set(render_validation__clip_model=str(write_clip(tmp_path / "other", seed=1))).run("register")
    assert rows(other)["candidate"].clip_score != scored["candidate"].clip_score
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_model_that_is_none_is_refused_before_anything_runs(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no CLIP model of transformers"):
        bench.set(render_validation__clip_model=str(tmp_path)).run("render_validation")
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids"):
        bench.set(render_validation__clip_model="openai/clip").run("render_validation")
