"""One optimizer step: forward and backward of its batches, the checks, the update."""

import math
from collections.abc import Mapping, Sequence

import torch

from ltx_core.errors import DataError
from ltx_core.flow_matching.loss import carries_loss, mean_over_carriers
from ltx_core.lora.targets import stream_of
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.draws import carries_audio_loss
from ltx_core.training.metrics import SampleLoss, StepRecord
from ltx_core.training.objective import BatchLosses, Objective
from ltx_core.training.order import EpochPlan, Visit


def step_visits(plan: EpochPlan, step: int, accumulation: int) -> list[tuple[Visit, ...]]:
    """The batches of optimizer step `step`; steps run on over the end of an epoch."""
    return [plan.batch(step * accumulation + i) for i in range(accumulation)]


def backward_step(objective: Objective, batches: Sequence[Sequence[Visit]]) -> tuple[list[SampleLoss], int]:
    """Leave the gradients of one optimizer step on the parameters; give its losses and how many tokens it saw.

    Means are taken over all clips of the step, so cutting it into other batches gives the same gradients.

    Raises:
        DataError: a loss is not finite; names the clips. No weight has been changed.
    """
    visits = [visit for batch in batches for visit in batch]
    num_audio = 0
    if objective.audio_channels is not None:
        num_audio = sum(carries_audio_loss(visit, objective.settings) for visit in visits)
    seen: list[SampleLoss] = []
    num_tokens = 0
    for chosen in batches:
        batch = objective.train_batch(chosen)
        losses = objective.losses(batch)
        seen += _finite_losses(batch, losses)
        num_tokens += batch.num_tokens
        video = losses.video.sum() / len(visits)  # every clip carries a video loss
        audio = mean_over_carriers(losses.audio, num_audio) if losses.audio is not None else None
        (video if audio is None else video + audio).backward()
    return seen, num_tokens


def update(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    *,
    learning_rate: float,
    max_grad_norm: float,
    clip_ids: Sequence[str],
) -> dict[str, float]:
    """Clip the gradients, take the optimizer step, drop the gradients. Gives the norms before clipping.

    Raises:
        DataError: a gradient is not finite; names the clips of the step. No weight has been changed.
    """
    norms = grad_norms(parameters)
    if not all(math.isfinite(norm) for norm in norms.values()):
        raise DataError(
            f"gradients are not finite ({norms}) after clips {list(clip_ids)}; the step was not taken. Look at these "
            f"clips, or lower learning_rate; the last checkpoint is whole."
        )
    torch.nn.utils.clip_grad_norm_(list(parameters.values()), max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norms


def grad_norms(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, float]:
    """Joint gradient norm of `all` and of each stream's adapters: `video`, `audio`, `cross`."""
    groups: dict[str, list[torch.Tensor]] = {}
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            norm = torch.linalg.vector_norm(parameter.grad)
            groups.setdefault("all", []).append(norm)
            groups.setdefault(stream_of(name), []).append(norm)
    return {group: torch.linalg.vector_norm(torch.stack(norms)).item() for group, norms in sorted(groups.items())}


def take_step(
    objective: Objective,
    batches: Sequence[Sequence[Visit]],
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    learning_rate: float,
) -> tuple[StepRecord, int]:
    """One whole optimizer step; what it gave, and how many tokens it saw.

    Raises:
        DataError: a loss or gradient is not finite; names the clips. No weight has been changed.
    """
    seen, num_tokens = backward_step(objective, batches)
    norms = update(
        optimizer,
        parameters,
        learning_rate=learning_rate,
        max_grad_norm=objective.settings.max_grad_norm,
        clip_ids=[visit.sample.clip_id for batch in batches for visit in batch],
    )
    return StepRecord(learning_rate, norms, tuple(seen)), num_tokens


def _finite_losses(batch: TrainBatch, losses: BatchLosses) -> list[SampleLoss]:
    """The losses of samples that carry one.

    Raises:
        DataError: one is not finite; names its clip.
    """
    found = _carried("video", batch.clip_ids, batch.video, losses.video)
    if batch.audio is not None and losses.audio is not None:
        found += _carried("audio", batch.clip_ids, batch.audio, losses.audio)
    if bad := [(clip, loss) for clip, loss in found if not math.isfinite(loss.loss)]:
        named = ", ".join(f"{clip} ({loss.modality}, sigma {loss.sigma:.3f}: {loss.loss})" for clip, loss in bad)
        raise DataError(
            f"the loss is not finite for {named}; the optimizer step was not taken. Look at these clips, or lower "
            f"learning_rate; the last checkpoint is whole."
        )
    return [loss for _, loss in found]


def _carried(
    modality: str, clip_ids: Sequence[str], stream: NoisyStream, losses: torch.Tensor
) -> list[tuple[str, SampleLoss]]:
    values = zip(clip_ids, carries_loss(stream.weight).tolist(), stream.sigma.tolist(), losses.tolist(), strict=True)
    return [(clip, SampleLoss(modality, sigma, loss)) for clip, carries, sigma, loss in values if carries]
