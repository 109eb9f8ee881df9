"""The page is made from the kept results, and says the figures, the verdicts and where they come from."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.truth import page
from benchmarks.truth.experiments import EXPERIMENTS, experiment_named


def result(arm: str, seed: int, **figures: float) -> dict[str, Any]:
    return {
        "arm": arm,
        "seed": seed,
        "figures": figures,
        "checkpoints": [],
        "cpu_seconds": 60.0,
        "device": "cpu",
        "date": "2026-11-30",
        "versions": {"torch": "2.11"},
    }


def crepa(seed: int, flicker: float, distance: float) -> dict[tuple[str, int], dict[str, Any]]:
    plain = {"flicker": 1.0 + 0.1 * seed, "colour wander": 3.0, "concept colour distance": 0.3}
    own = {"flicker": flicker + 0.1 * seed, "colour wander": 4.0 + seed, "concept colour distance": distance}
    return {("plain", seed): result("plain", seed, **plain), ("crepa", seed): result("crepa", seed, **own)}


RESULTS = crepa(1, 0.5, 0.31) | crepa(2, 0.52, 0.31)


def test_the_committed_pages_are_made_from_the_committed_results() -> None:
    results = page.load(page.RESULTS)
    notes = page.NOTES.read_text() if page.NOTES.exists() else ""
    assert (page.DOCS / page.PAGE).read_text() == page.page(results, notes), "run: python -m benchmarks.truth --write"
    for experiment in EXPERIMENTS:
        if experiment.page:
            text = (page.DOCS / experiment.page).read_text()
            assert text == page.with_paragraph(text, experiment, results), "run: python -m benchmarks.truth --write"


def test_the_page_says_what_was_found() -> None:
    text = page.page(RESULTS, "## A surprise\n\nIt was.")
    assert "4 trainings and 0 sets of renders of the base, of 2026-11-30, on cpu (4), 4 core minutes" in text
    assert "torch 2.11" in text
    assert "| crepa: CREPA, block 3, weight 0.5 | 1, 2 | 0.66 (0.6 to 0.72) | 5.5 (5 to 6) |" in text
    assert "| yes | flicker of crepa, against plain: 0.66 against 1.15; wanted lower;" in text
    assert "| NO | colour wander of crepa, against plain: 5.5 against 3; wanted lower;" in text
    assert "- colour wander of crepa, against plain:" in text
    assert "## A surprise" in text
    assert "| not run | seconds a step of tread, against plain: not run |" in text


def test_a_method_s_page_gets_an_honest_paragraph() -> None:
    experiment = experiment_named("crepa")
    text = "# CREPA\n\n<!-- truth: crepa -->\nstale words\n<!-- end of truth: crepa -->\n\nThe end.\n"
    found = page.with_paragraph(text, experiment, RESULTS)
    assert "stale" not in found
    assert "The end." in found
    assert "holds in part: 2 of 3 comparisons" in " ".join(found.split())
    assert "Not as claimed: colour wander of crepa" in " ".join(found.split())
    assert page.with_paragraph(found, experiment, RESULTS) == found
    with pytest.raises(ValueError, match="has no lines"):
        page.with_paragraph("# CREPA\n", experiment, RESULTS)


def test_without_results_nothing_is_claimed() -> None:
    assert "No results are there yet." in page.page({}, "")
    assert "was not measured yet" in page.paragraph(experiment_named("rollout"), {})


def test_results_are_read_by_arm_and_seed(tmp_path: Path) -> None:
    for one in RESULTS.values():
        (tmp_path / f"{one['arm']}-{one['seed']}.json").write_text(json.dumps(one))
    assert page.load(tmp_path) == RESULTS
