"""The schedule against reference values that Lightricks' scheduler gave (schedule_reference.json, float32)."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from ltx_core.errors import ConfigError
from ltx_core.sampling.schedule import DEFAULT_TOKENS, schedule_sigmas

REFERENCE = json.loads((Path(__file__).parent / "schedule_reference.json").read_text())


@pytest.mark.parametrize("case", REFERENCE["schedule"], ids=lambda case: f"{case['steps']}-{case['tokens']}")
def test_dev_equals_reference(case: dict[str, object]) -> None:
    sigmas = schedule_sigmas("dev", int(str(case["steps"])), int(str(case["tokens"] or DEFAULT_TOKENS)))
    assert sigmas == pytest.approx(case["sigmas"], abs=1e-6)


def test_distilled_equals_reference() -> None:
    assert list(schedule_sigmas("distilled", 8)) == REFERENCE["distilled"]


@pytest.mark.parametrize("num_steps", [2, 3, 17, 100])
def test_falls_from_one_to_zero(num_steps: int) -> None:
    sigmas = schedule_sigmas("dev", num_steps)
    assert len(sigmas) == num_steps + 1
    assert sigmas[0] == pytest.approx(1, abs=1e-9)
    assert sigmas[-2] == pytest.approx(0.1, abs=1e-9)
    assert sigmas[-1] == 0
    assert all(a > b for a, b in pairwise(sigmas))


@pytest.mark.parametrize(("name", "num_steps"), [("dev", 1), ("dev", 0), ("distilled", 9), ("cosine", 8)])
def test_refuses(name: str, num_steps: int) -> None:
    with pytest.raises(ConfigError):
        schedule_sigmas(name, num_steps)  # type: ignore[arg-type]  # wrong on purpose
