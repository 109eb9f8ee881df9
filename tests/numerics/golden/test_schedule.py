"""The full model's noise levels, for every step and token count that Lightricks' scheduler was asked for."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ltx_core.sampling.schedule import dev_sigmas, schedule_sigmas

pytestmark = pytest.mark.numerics

DEFAULT = Path(__file__).parents[2] / "golden"
GOLDEN = Path(os.environ.get("LTX2_GOLDEN_DIR", DEFAULT))
ABOUT = json.loads((GOLDEN / "schedule.json").read_text())
ENTRIES = ABOUT["schedule"]
TOLERANCE = 1e-6


def name_of(entry: dict[str, Any]) -> str:
    return f"{entry['steps']} steps, {entry['tokens']} tokens"


def sigmas_of(entry: dict[str, Any]) -> tuple[float, ...]:
    if entry["tokens"] is None:
        return schedule_sigmas("dev", entry["steps"])
    return schedule_sigmas("dev", entry["steps"], entry["tokens"])


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_sigmas_equal_lightricks(entry: dict[str, Any]) -> None:
    assert sigmas_of(entry) == pytest.approx(entry["sigmas"], rel=0, abs=TOLERANCE)


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_one_changed_sigma_is_seen(entry: dict[str, Any]) -> None:
    changed = [*entry["sigmas"]]
    changed[1] += 1e-5
    assert sigmas_of(entry) != pytest.approx(changed, rel=0, abs=TOLERANCE)


def test_distilled_sigmas_equal_lightricks() -> None:
    assert schedule_sigmas("distilled", 8) == pytest.approx(ABOUT["distilled"], rel=0, abs=TOLERANCE)


def test_entries_cover_the_default_and_real_token_counts() -> None:
    assert {entry["tokens"] is None for entry in ENTRIES} == {True, False}
    assert dev_sigmas(8, 1024) != dev_sigmas(8)
