"""The share of occurrences that are rolled out over the steps, and settings that do nothing."""

from typing import Any

import pytest
from pydantic import ValidationError

from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.settings import RolloutSettings

RAMP: dict[str, Any] = {"probability": 0.6, "ramp_steps": 10, "ramp_start_step": 5}


def test_without_a_ramp_the_share_is_there_at_once() -> None:
    assert [RolloutSettings(probability=0.3).fraction(step) for step in (0, 1, 10**6)] == [0.3] * 3


def test_a_ramp_from_0_begins_at_0() -> None:
    settings = RolloutSettings(**RAMP, start_probability=0.0)
    assert [settings.fraction(step) for step in (0, 5)] == [0.0, 0.0]
    assert [settings.fraction(step) for step in (6, 10, 15, 16)] == pytest.approx([0.06, 0.3, 0.6, 0.6])


def test_a_ramp_may_begin_above_and_fall() -> None:
    settings = RolloutSettings(**RAMP, start_probability=1.0)
    assert [settings.fraction(step) for step in (0, 5, 10, 15)] == pytest.approx([1.0, 1.0, 0.8, 0.6])


def test_a_ramp_may_end_at_0() -> None:
    settings = RolloutSettings(probability=0, start_probability=0.5, ramp_steps=4)
    assert [settings.fraction(step) for step in (0, 2, 4)] == [0.5, 0.25, 0]


def test_a_cosine_is_slow_at_both_ends() -> None:
    straight, cosine = (RolloutSettings(**RAMP, ramp_shape=shape) for shape in ("linear", "cosine"))
    assert cosine.fraction(7) < straight.fraction(7)
    assert cosine.fraction(10) == pytest.approx(straight.fraction(10))
    assert cosine.fraction(13) > straight.fraction(13)
    assert cosine.fraction(15) == straight.fraction(15) == 0.6


def test_a_start_step_alone_is_a_jump() -> None:
    settings = RolloutSettings(probability=0.6, ramp_start_step=5, start_probability=0.1)
    assert [settings.fraction(step) for step in (4, 5)] == [0.1, 0.6]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"probability": 0}, "no sample is ever rolled out"),
        ({"probability": -0.1}, "greater than or equal to 0"),
        ({"start_probability": 0.2}, "start_probability is 0.2 without a ramp"),
        ({"ramp_shape": "cosine", "ramp_start_step": 3}, "ramp_shape is 'cosine' with ramp_steps 0"),
        ({"reflexflow_alpha": 2}, "reflexflow_alpha set while reflexflow is false"),
        ({"reflexflow": True, "reflexflow_beta1": 0, "reflexflow_beta2": 0}, "teach nothing"),
        ({"max_sigma_offset": 1.5}, "less than or equal to 1"),
        ({"max_offset": 1}, "Extra inputs"),
    ],
)
def test_what_does_nothing_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        RolloutSettings(**wrong)


def test_a_run_without_rollouts_has_the_name_it_always_had() -> None:
    """Written down before there were rollouts."""
    assert TrainSettings().digest() == "caa7ce70ece64c1cf1b406bb895a41d3"
    assert "rollout" not in TrainSettings().model_dump()
    assert TrainSettings(rollout={}).digest() != TrainSettings().digest()  # type: ignore[arg-type]  # as YAML has it
    assert TrainSettings(rollout=RolloutSettings(probability=0.1)).digest() != TrainSettings(rollout={}).digest()  # type: ignore[arg-type]  # same
