"""The learning rate, a pure function of the step: nothing to save, nothing to restore."""

import math

from ltx_core.training.config import TrainSettings


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Learning rate of optimizer step `step`, counted from 0.

    Warmup rises linearly and reaches the full rate at its last step, so no step is spent at rate 0. Falling schedules
    then go from the full rate towards `final_learning_rate`, which the step after the last would have.
    """
    high, low = settings.learning_rate, settings.final_learning_rate
    if step < settings.warmup_steps:
        return high * (step + 1) / settings.warmup_steps
    if settings.scheduler.startswith("constant"):
        return high
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    if settings.scheduler == "cosine":
        return low + (high - low) * (1 + math.cos(math.pi * done)) / 2
    return low + (high - low) * (1 - done) ** settings.polynomial_power  # linear is power 1
