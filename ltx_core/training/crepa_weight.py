"""The weight of CREPA's alignment, a pure function of the step like the learning rate. No torch."""

import math

from ltx_core.training.config import TrainSettings
from ltx_core.training.crepa_settings import CrepaSettings

SIMILARITY_DECAY = 0.99
"""Of the average that `similarity_threshold` is held against."""


def smoothed(average: float | None, similarity: float | None) -> float | None:
    """The average self-similarity after another step; one in which none was computed leaves it as it was."""
    if average is None or similarity is None:
        return average if similarity is None else similarity
    return SIMILARITY_DECAY * average + (1 - SIMILARITY_DECAY) * similarity


def crepa_weight(step: int, settings: TrainSettings, similarity: float | None = None) -> float:
    """What the alignment counts in optimizer step `step`, counted from 0; 0 where it is not computed at all.
    `similarity` is the average of the steps before. It is kept with checkpoints and is the same on every rank.

    The warmup rises linearly and reaches the full weight at its last step. A fall then begins at the full weight and
    has arrived after `decay_steps`.
    """
    crepa = settings.crepa
    if crepa is None or (crepa.cutoff_step is not None and step >= crepa.cutoff_step):
        return 0.0
    if crepa.similarity_threshold is not None and similarity is not None and similarity >= crepa.similarity_threshold:
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
