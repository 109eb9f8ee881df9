"""Learning rates by hand."""

from typing import Any

import pytest

from ltx_core.training.config import TrainSettings


def rates(**changes: Any) -> list[float]:
    settings = TrainSettings(learning_rate=0.1, **changes)
    return [settings.learning_rate_at(step) for step in range(settings.steps)]


def test_constant_schedules() -> None:
    assert rates(steps=3) == [0.1] * 3
    assert rates(steps=6, scheduler="constant_with_warmup", warmup_steps=4) == pytest.approx(
        [0.025, 0.05, 0.075, 0.1, 0.1, 0.1]
    )


def test_falling_schedules() -> None:
    assert rates(steps=4, scheduler="linear") == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert rates(steps=4, scheduler="cosine", final_learning_rate=0.02)[2] == pytest.approx(0.06)
    assert rates(steps=4, scheduler="polynomial", polynomial_power=2)[2] == pytest.approx(0.025)
    assert rates(steps=6, scheduler="linear", warmup_steps=2)[:4] == pytest.approx([0.05, 0.1, 0.1, 0.075])


def test_cyclic_schedules() -> None:
    assert rates(steps=4, scheduler="cosine_with_restarts", scheduler_cycles=2) == pytest.approx([0.1, 0.05] * 2)
    assert rates(steps=4, scheduler="cosine_with_restarts") == rates(steps=4, scheduler="cosine")
    sine = rates(steps=8, scheduler="sine", scheduler_cycles=2, final_learning_rate=0.02)
    foot, top = 0.02 + 0.08 * (1 - 2**-0.5) / 2, 0.02 + 0.08 * (1 + 2**-0.5) / 2
    assert sine == pytest.approx([foot, top, top, foot] * 2)


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "cosine_with_restarts", "polynomial"])
def test_warmup_of_the_whole_run(scheduler: Any) -> None:
    assert rates(steps=2, scheduler=scheduler, warmup_steps=2) == pytest.approx([0.05, 0.1])
