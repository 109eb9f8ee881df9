"""One optimizer step: forward and backward of its batches, the checks, the update.

A GPU is given all work up to the norms of the gradients before it is waited for: what the host does for thousands of
matrices, it does while the GPU still computes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from ltx_core.distributed.ranks import ALONE, Ranks
from ltx_core.training.backward import Backward, EagerBackward
from ltx_core.training.draws import carries_audio_loss
from ltx_core.training.losses import Done, step_alignment, step_losses
from ltx_core.training.metrics import SampleLoss, StepRecord
from ltx_core.training.objective import Objective
from ltx_core.training.optimizer import Optimizer
from ltx_core.training.order import EpochPlan, Visit
from ltx_core.training.prefetch import Load
from ltx_core.training.rollout import any_rolls, roll_out
from ltx_core.training.update import drop_sound_gradients, grad_norms, update


class StepLosses(NamedTuple):
    """What the batches of an optimizer step gave."""

    losses: list[SampleLoss]
    """Of the whole step, in the order of its batches."""
    num_tokens: int
    crepa: dict[str, float]
    """As in `StepRecord`."""


class Rates(NamedTuple):
    """What depends on an optimizer step's number alone."""

    learning_rate: float
    crepa_weight: float = 0.0
    rollout_share: float = 0.0
    """Of its visits."""


def step_visits(plan: EpochPlan, step: int, accumulation: int) -> list[tuple[Visit, ...]]:
    """The batches of optimizer step `step`; steps run on over the end of an epoch."""
    return [plan.batch(step * accumulation + i) for i in range(accumulation)]


def backward_step(
    objective: Objective,
    batches: Sequence[Sequence[Visit]],
    *,
    ranks: Ranks = ALONE,
    load: Load | None = None,
    backward: Backward | None = None,
    crepa_weight: float = 0.0,
    rollout_share: float = 0.0,
) -> StepLosses:
    """Leave the gradients of this rank's share of an optimizer step on the parameters.

    Means are taken over all clips of the step, so cutting it into other batches, or among other ranks, gives the same
    gradients once those of the ranks are added up. That `rollout_share` of its visits is rolled out, all by the weights
    that the step begins with. The GPU is waited for once, after the last backward.

    Raises:
        DataError: a loss is not finite; names the clips. No weight has been changed.
        TransientError: another rank is gone.
    """
    done = _backwards(objective, batches, ranks, load, backward, Rates(0.0, crepa_weight, rollout_share))
    return _losses(batches, done, ranks, crepa_weight)


def _backwards(
    objective: Objective,
    batches: Sequence[Sequence[Visit]],
    ranks: Ranks,
    load: Load | None,
    backward: Backward | None,
    rates: Rates,
) -> list[Done]:
    """Forward and backward of this rank's batches."""
    load, backward = load or objective.train_batch, backward or EagerBackward(objective)
    num_video = sum(len(batch) for batch in batches)  # every clip carries a video loss
    num_audio = 0
    if objective.audio_channels is not None:
        num_audio = sum(carries_audio_loss(visit, objective.settings) for batch in batches for visit in batch)
    together = objective.sharded and any_rolls(objective, batches, rates.rollout_share)
    done: list[Done] = []
    for number in ranks.share(range(len(batches))):
        batch = load(batches[number])
        rolled, *travel = roll_out(objective, batch, rates.rollout_share, in_any_case=together)
        done.append(Done(number, batch, backward(rolled, num_video, num_audio, rates.crepa_weight), *travel))
    return done


def _losses(batches: Sequence[Sequence[Visit]], done: Sequence[Done], ranks: Ranks, crepa_weight: float) -> StepLosses:
    """What the batches gave, on every rank; the GPU is waited for."""
    losses, num_tokens = step_losses(batches, done, ranks)
    crepa = step_alignment(len(batches), done, ranks, crepa_weight) if crepa_weight else {}
    return StepLosses(losses, num_tokens, crepa)


def take_step(
    objective: Objective,
    batches: Sequence[Sequence[Visit]],
    optimizer: Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    rates: Rates,
    *,
    ranks: Ranks = ALONE,
    load: Load | None = None,
    backward: Backward | None = None,
) -> tuple[StepRecord, int]:
    """One whole optimizer step; what it gave, and how many tokens it saw. Every rank ends with the same weights.

    Raises:
        DataError: a loss or gradient is not finite; names the clips. No weight has been changed.
        TransientError: another rank is gone.
    """
    done = _backwards(objective, batches, ranks, load, backward, rates)
    if not any(objective.hears(batch) for batch in batches):
        drop_sound_gradients(parameters)
    ranks.add_gradients(parameters)
    joint = grad_norms(parameters)
    seen, num_tokens, crepa = _losses(batches, done, ranks, rates.crepa_weight)
    norms = update(
        optimizer,
        parameters,
        joint,
        learning_rate=rates.learning_rate,
        max_grad_norm=objective.settings.max_grad_norm,
        clip_ids=[visit.sample.clip_id for batch in batches for visit in batch],
        share=sum(len(batch) for batch in batches) / (objective.settings.batch_size * len(batches)),
    )
    return StepRecord(rates.learning_rate, norms, tuple(seen), crepa), num_tokens
