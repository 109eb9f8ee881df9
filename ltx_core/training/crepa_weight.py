"""The weight of CREPA's alignment, a pure function of the step like the learning rate. No torch."""

import math

from ltx_core.training.config import TrainSettings
from ltx_core.training.crepa_settings import CrepaSettings


def crepa_weight(step: int, settings: TrainSettings) -> float:
    """What the alignment counts in optimizer step `step`, counted from 0; 0 where it is not computed at all.

    The warmup rises linearly and reaches the full weight at its last step. A fall then begins at the full weight and
    has arrived after `decay_steps`.
    """
    crepa = settings.crepa
    if crepa is None or (crepa.cutoff_step is not None and step >= crepa.cutoff_step):
        return 0.0
    if step < crepa.warmup_steps:
        return crepa.weight * (step + 1) / crepa.warmup_steps
    falling = crepa.decay_steps or max(settings.steps - crepa.warmup_steps, 1)
    done = min((step - crepa.warmup_steps) / falling, 1.0)
    return crepa.end_weight + (crepa.weight - crepa.end_weight) * _height(done, crepa)


def _height(done: float, crepa: CrepaSettings) -> float:
    """From 1 to 0 as `done` goes from 0 to 1."""
    match crepa.schedule:
        case "linear":
            return 1 - done
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        case "polynomial":
            return float((1 - done) ** crepa.polynomial_power)
        case _:
            return 1.0
