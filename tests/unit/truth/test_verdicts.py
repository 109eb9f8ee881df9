"""What is said of a claim follows from the figures of equal seeds, and from nothing else."""

from typing import Any

import pytest

from benchmarks.truth.experiments import Chosen, Compared, Direction, Ranked
from benchmarks.truth.verdicts import judge, spearman, spread, values


def results(**arms: list[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Each arm's results at the seeds 1, 2, ..."""
    return {(arm, seed): one for arm, found in arms.items() for seed, one in enumerate(found, 1)}


def figure(*found: float) -> list[dict[str, Any]]:
    return [{"figures": {"score": value}, "checkpoints": []} for value in found]


@pytest.mark.parametrize(
    ("direction", "margin", "arm", "answer"),
    [
        ("higher", 0.0, (0.8, 0.9, 0.85), "yes"),
        ("higher", 0.0, (0.9, 0.2, 0.6), "unclear"),
        ("higher", 0.0, (0.3, 0.4, 0.4), "no"),
        ("higher", 0.0, (0.5, 0.5, 0.5), "no"),
        ("lower", 0.0, (0.1, 0.2, 0.15), "yes"),
        ("lower", 0.0, (0.8, 0.9, 0.85), "no"),
        ("same", 0.1, (0.55, 0.5, 0.45), "yes"),
        ("same", 0.1, (0.8, 0.7, 0.9), "no"),
        ("same", 0.1, (0.2, 0.1, 0.3), "no"),
        ("not higher", 0.1, (0.55, 0.5, 0.6), "yes"),
        ("not higher", 0.1, (0.1, 0.1, 0.1), "yes"),
        ("not higher", 0.1, (0.7, 0.7, 0.7), "no"),
        ("not lower", 0.1, (0.9, 0.9, 0.9), "yes"),
        ("not lower", 0.1, (0.3, 0.3, 0.3), "no"),
    ],
)
def test_an_arm_against_its_control(direction: Direction, margin: float, arm: tuple[float, ...], answer: str) -> None:
    found = results(arm=figure(*arm), control=figure(0.5, 0.5, 0.5))
    assert judge(Compared("arm", "control", "score", direction, margin), found).answer == answer


def test_only_seeds_that_both_have_count() -> None:
    found = results(arm=figure(1.0, 1.1, 1.2), control=figure(0.5, 0.5))
    verdict = judge(Compared("arm", "control", "score", "higher"), found)
    assert "1.05 against 0.5" in verdict.words
    assert "the difference is +0.55 (+0.5 to +0.6 at 2 seeds)" in verdict.words


def test_one_seed_proves_nothing_and_none_says_so() -> None:
    test = Compared("arm", "control", "score", "higher")
    assert judge(test, results(arm=figure(1.0), control=figure(0.0))).answer == "unclear"
    assert judge(test, results(arm=figure(1.0))).answer == "not run"


def test_an_arm_may_be_its_own_control_by_another_figure() -> None:
    found = results(arm=[{"figures": {"last": 2.0 + s, "best": 1.0 + s / 2}, "checkpoints": []} for s in range(3)])
    verdict = judge(Compared("arm", "arm", "last", "higher", control_figure="best"), found)
    assert verdict.answer == "yes"
    assert "last of arm, against its best" in verdict.words


def points(*pairs: tuple[float, float]) -> dict[str, Any]:
    return {"figures": {}, "checkpoints": [{"eval loss": loss, "score": score} for loss, score in pairs]}


def test_checkpoints_are_ranked_over_all_and_inside_trainings() -> None:
    rising = points((1.0, 0.1), (2.0, 0.2), (3.0, 0.3))
    found = results(a=[rising], b=[points((4.0, 0.4), (5.0, 0.5), (6.0, 0.6))], other=[points((1, 9), (2, 8), (3, 7))])
    verdict = judge(Ranked(("a", "b"), "score", is_good_high=False), found)
    assert verdict.answer == "yes"
    assert "correlation 1.00 over 6 checkpoints of 2 trainings" in verdict.words
    assert judge(Ranked(("a", "b"), "score", is_good_high=True), found).answer == "no"
    assert judge(Ranked(("c",), "score", is_good_high=True), found).answer == "not run"


def test_spearman() -> None:
    """The textbook's ties: ranks 1.5, 1.5, 3, 4 and 1, 2, 3, 4."""
    assert spearman([(1, 1), (1, 2), (2, 3), (3, 4)]) == pytest.approx(0.9486833)
    assert spearman([(1, 3), (2, 2), (3, 1)]) == -1
    assert spearman([(1, 5), (2, 5), (3, 5)]) is None
    assert spearman([(1, 1), (2, 2)]) is None


def test_choosing_by_the_eval_loss() -> None:
    def one(loss: float, score: float) -> dict[str, Any]:
        return {"figures": {"eval loss": loss, "score": score}, "checkpoints": []}

    test = Chosen(("slow", "fast"), "score", is_good_high=True)
    assert judge(test, results(slow=[one(1, 0.9), one(1, 0.8)], fast=[one(2, 0.1), one(2, 0.8)])).answer == "yes"
    half = judge(test, results(slow=[one(1, 0.9), one(1, 0.1)], fast=[one(2, 0.1), one(2, 0.8)]))
    assert half.answer == "no"
    assert "1 of 2 seeds" in half.words
    assert judge(test, results(slow=[one(1, 0.9)])).answer == "not run"


def test_spread_and_values() -> None:
    found = results(arm=figure(3.0, 1.0, 2.0))
    assert values(found, "arm", "score") == {1: 3.0, 2: 1.0, 3: 2.0}
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0, 3)
    assert spread([]) is None
