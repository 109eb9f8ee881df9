"""The guide's options for scheduled sampling and ReflexFlow: where values go, what is refused, what is told."""

from typing import Any

import pytest

from ltx_core.errors import ConfigError
from tests.unit.guide.conftest import Load, Notices

MASTER = "scheduled_sampling_max_step_offset"
ON: dict[str, Any] = {"max_step_offset": 50, "probability": 0.4}
RAMP: dict[str, Any] = {"max_step_offset": 50, "ramp_steps": 100}
GOES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (ON, {"max_sigma_offset": 0.05, "probability": 0.4, "num_model_calls": 1, "reflexflow": True, "ramp_steps": 0}),
    (ON | {"reflexflow": False}, {"reflexflow": False}),
    (ON | {"reflexflow": "true"}, {"reflexflow": True}),
    (ON | {"strategy": "biased_late"}, {"strategy": "biased_late"}),
    (ON | {"sampler": "unipc"}, {"probability": 0.4}),
    (
        ON | {"reflexflow_alpha": 2, "reflexflow_beta1": 5, "reflexflow_beta2": "0.5"},
        {"reflexflow_alpha": 2.0, "reflexflow_beta1": 5.0, "reflexflow_beta2": 0.5},
    ),
    (RAMP, {"probability": 0.5, "start_probability": 0.0, "ramp_steps": 100, "ramp_start_step": 0}),
    (RAMP | {"prob_end": 0.8, "start_step": 20}, {"probability": 0.8, "ramp_start_step": 20}),
    (RAMP | {"prob_start": 0.1, "ramp_shape": "cosine"}, {"start_probability": 0.1, "ramp_shape": "cosine"}),
    (RAMP | {"prob_start": 0.1, "prob_end": 0}, {"start_probability": 0.1, "probability": 0.0}),
]
OFF: list[dict[str, Any]] = [
    {"reflexflow": False},
    {"max_step_offset": 0, "probability": 1.0},
    {"max_step_offset": 50},
    RAMP | {"prob_end": 0.0},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"max_step_offset": -1}, f"{MASTER}' is -1; 0 or more is wanted"),
    ({"max_step_offset": 2000, "probability": 1}, "train_lora.rollout.max_sigma_offset"),
    (ON | {"ramp_steps": "many"}, "scheduled_sampling_ramp_steps' is 'many'; a number is wanted"),
    (ON | {"probability": "half"}, "scheduled_sampling_probability' is 'half'; a number is wanted"),
    (ON | {"strategy": "late"}, "here there are uniform, biased_early, biased_late"),
    (RAMP | {"ramp_shape": "sine"}, "here there are linear, cosine"),
]
TOLD: list[tuple[dict[str, Any], str, str]] = [
    ({"max_step_offset": 50}, "max_step_offset", "no visit is rolled out, because the share is 0"),
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


def full(options: dict[str, Any]) -> dict[str, Any]:
    return {f"scheduled_sampling_{name}": value for name, value in options.items()}


def rollout_cases() -> list[dict[str, Any]]:
    """All options that are tried here."""
    return [full(options) for options in (*(case for case, _ in GOES), *(case for case, *_ in TOLD))]


@pytest.mark.parametrize(("options", "ours"), GOES)
def test_value_goes_where_the_table_says(load: Load, options: dict[str, Any], ours: dict[str, Any]) -> None:
    rollout = load(**full(options)).train_lora.rollout
    assert rollout is not None
    assert {name: getattr(rollout, name) for name in ours} == ours


@pytest.mark.parametrize("options", OFF)
def test_off_is_no_rollout(load: Load, options: dict[str, Any]) -> None:
    assert load(**full(options)).train_lora.rollout is None


def test_a_ramp_from_0_begins_at_0(load: Load) -> None:
    """Where the guide's program takes 0 for left out and begins at `scheduled_sampling_probability`."""
    rollout = load(**full(RAMP | {"prob_start": 0, "prob_end": 0.8, "probability": 0.5})).train_lora.rollout
    assert rollout is not None
    assert [rollout.share(step) for step in (0, 50, 100)] == pytest.approx([0, 0.4, 0.8])


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_refused(load: Load, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(**full(options))
    assert told in str(raised.value)


@pytest.mark.parametrize(("options", "key", "told"), TOLD)
def test_told(notices: Notices, options: dict[str, Any], key: str, told: str) -> None:
    lines = [notice for notice in notices(**full(options)) if notice.startswith(f"scheduled_sampling_{key}: ")]
    assert any(told in line for line in lines)


def test_what_is_done_anyway_is_not_told(notices: Notices) -> None:
    """The guide's own file has ReflexFlow switched off and nothing else of these."""
    assert notices(**full({"reflexflow": False, "max_step_offset": 0})) == notices()
