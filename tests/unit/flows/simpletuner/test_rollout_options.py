"""The guide's options for scheduled sampling and ReflexFlow: where values go, what is refused, what is told."""

from typing import Any

import pytest

from tests.unit.flows.simpletuner.cases import MASTER, ON, RAMP, full
from tests.unit.flows.simpletuner.conftest import Load, Notices

OFF: list[dict[str, Any]] = [
    {"reflexflow": False},
    {"max_step_offset": 0, "probability": 1.0},
    {"max_step_offset": 50},
    RAMP | {"prob_end": 0.0},
]
TOLD: list[tuple[dict[str, Any], str, str]] = [
    ({"max_step_offset": 50}, "max_step_offset", "no sample is rolled out, because the probability is 0"),
    (ON, "max_step_offset", "up to 50 steps of 1/1000 are one forward"),
    (ON, "max_step_offset", "brings ReflexFlow with it"),
    (ON | {"sampler": "unipc"}, "sampler", "Euler's steps"),
    (ON | {"prob_start": 0.1}, "prob_start", "has no effect without scheduled_sampling_ramp_steps"),
    (ON | {"prob_end": 0.1}, "prob_end", "has no effect without scheduled_sampling_ramp_steps"),
    (ON | {"start_step": 1}, "start_step", "has no effect without scheduled_sampling_ramp_steps"),
    (ON | {"ramp_shape": "cosine"}, "ramp_shape", "has no effect without scheduled_sampling_ramp_steps"),
    (RAMP | {"probability": 0.3}, "probability", "has no effect without scheduled_sampling_ramp_steps: 0"),
    (ON | {"reflexflow": False, "reflexflow_beta1": 5}, "reflexflow_beta1", "without scheduled_sampling_reflexflow"),
    *(
        ({name: value}, name, f"has no effect without {MASTER}")
        for name, value in (
            ("probability", 1),
            ("ramp_steps", 5),
            ("strategy", "uniform"),
            ("reflexflow", True),
            ("reflexflow_alpha", 1),
            ("prob_end", 1),
        )
    ),
]


@pytest.mark.parametrize("options", OFF)
def test_off_is_no_rollout(load: Load, options: dict[str, Any]) -> None:
    assert load(**full(options)).train_lora.rollout is None


def test_a_ramp_from_0_begins_at_0(load: Load) -> None:
    """Where SimpleTuner takes 0 for left out and begins at `scheduled_sampling_probability`."""
    rollout = load(**full(RAMP | {"prob_start": 0, "prob_end": 0.8, "probability": 0.5})).train_lora.rollout
    assert rollout is not None
    assert [rollout.fraction(step) for step in (0, 50, 100)] == pytest.approx([0, 0.4, 0.8])


@pytest.mark.parametrize(("options", "key", "told"), TOLD)
def test_told(notices: Notices, options: dict[str, Any], key: str, told: str) -> None:
    lines = [notice for notice in notices(**full(options)) if notice.startswith(f"scheduled_sampling_{key}: ")]
    assert any(told in line for line in lines)


def test_what_is_done_anyway_is_not_told(notices: Notices) -> None:
    """The guide's own file has ReflexFlow switched off and nothing else of these."""
    assert notices(**full({"reflexflow": False, "max_step_offset": 0})) == notices()
