"""A few disturbances of `scripts.chaos` with fixed seeds, on the first two stages: the whole of it takes hours."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.chaos.disturb import collect_once, kill_once
from scripts.chaos.ground import Ground, make_ground
from scripts.chaos.page import Case, Tally, table

pytestmark = [pytest.mark.extra, pytest.mark.timeout(600)]
STAGES = ("probe", "split")
SLOW = "first stage after"
"""How fast a stage starts is measured by the script on an idle machine, and not here."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return make_ground(tmp_path_factory.mktemp("chaos"), last=STAGES[-1])


@pytest.mark.parametrize("seed", [4, 9, 11])
def test_after_a_kill_the_next_run_ends_in_the_undisturbed_bytes(ground: Ground, seed: int) -> None:
    case = kill_once(ground, random.Random(seed), STAGES)
    assert not case.problem or case.problem.startswith(SLOW), case


def test_garbage_collected_under_a_run_is_none_that_it_needs(ground: Ground) -> None:
    case = collect_once(ground, random.Random(1), STAGES)
    assert not case.problem or SLOW in case.problem, case


def test_another_byte_is_seen(ground: Ground) -> None:
    """The comparison that all of this rests on."""
    ground.restore("end")
    assert ground.differences("split") == ""
    other = replace(ground, digests=ground.digests | {"split": "another"})
    assert other.differences("split") == "rows differ: split"


def test_the_table_counts_what_was_wrong(tmp_path: Path) -> None:
    cases = [Case("a", "", 1.0), Case("b", "wrong", 2.0), Case("c", "", 3.0, message="one line")]
    assert table([Tally("killed", cases)])[-1] == "| killed | 3 | 1 | 1 | 1 | 3.0 |"
