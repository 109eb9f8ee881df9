"""The learning rate, a pure function of the step: nothing to save, nothing to restore, no world size in it."""

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
    left = max(settings.steps - settings.warmup_steps, 1)
    return low + (high - low) * _height(step - settings.warmup_steps, left, settings)


def _height(step: int, steps: int, settings: TrainSettings) -> float:
    """Height in [0, 1] of the schedule at `step` of `steps` after warmup.

    `sine` rises from `final_learning_rate` and falls back to it, each cycle; it is taken at the middle of a step, so
    that the first is not spent at its foot.
    """
    done, cycles = step / steps, settings.scheduler_cycles
    match settings.scheduler:
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        case "cosine_with_restarts":
            return (1 + math.cos(math.pi * (cycles * step % steps) / steps)) / 2
        case "sine":
            return (1 - math.cos(2 * math.pi * cycles * (step + 0.5) / steps)) / 2
        case "linear" | "polynomial":
            return (1 - done) ** settings.polynomial_power  # linear is power 1
        case _:
            return 1.0
