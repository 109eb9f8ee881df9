"""The losses of a step, clip by clip, from wherever they were computed; those that are not finite are refused."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ltx_core.distributed.ranks import Ranks
from ltx_core.errors import DataError
from ltx_core.flow_matching.loss import carries_loss
from ltx_core.flow_matching.reflexflow import ReflexLosses
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.metrics import RolloutMeasures, SampleLoss
from ltx_core.training.objective import BatchLosses
from ltx_core.training.order import Visit
from ltx_core.training.rollout_way import Travel

MODALITIES = ("video", "audio")
COLUMNS = 8
"""Whether the clip carries a loss, its sigma, its loss; whether it was rolled out, how far, and what came of it."""
WITHOUT_REFLEXFLOW = -1.0
"""In the place of its losses, which are never negative."""


class Done(NamedTuple):
    """A batch whose backward has run."""

    number: int
    """In its step."""
    batch: TrainBatch
    """As it was loaded."""
    losses: BatchLosses
    video: Travel | None = None
    audio: Travel | None = None
    """How its samples came to where they were trained on; None if none was rolled out."""


def step_losses(batches: Sequence[Sequence[Visit]], done: Sequence[Done], ranks: Ranks) -> tuple[list[SampleLoss], int]:
    """Losses of all batches of a step, and its tokens, on every rank; `done` are this rank's.

    Raises:
        DataError: a loss is not finite; names the clips.
        TransientError: another rank is gone.
    """
    widest = max(len(batch) for batch in batches)
    table = torch.zeros(len(batches), len(MODALITIES), widest, COLUMNS, dtype=torch.float64)
    for one in done:
        batch, losses = one.batch, one.losses
        table[one.number, 0, : len(losses.video)] = _columns(batch.video, losses.video, one.video, losses.video_parts)
        if batch.audio is not None and losses.audio is not None:
            columns = _columns(batch.audio, losses.audio, one.audio, losses.audio_parts)
            table[one.number, 1, : len(losses.audio)] = columns
    ranks.sum(table)
    num_tokens = ranks.sum(torch.tensor(sum(one.batch.num_tokens for one in done)))
    return _read(batches, table), int(num_tokens.item())


def step_alignment(num_batches: int, done: Sequence[Done], ranks: Ranks, weight: float) -> dict[str, float]:
    """What CREPA gave in a step, on every rank: means over its clips, equal however batches were shared among ranks.

    Raises:
        TransientError: another rank is gone.
    """
    table = torch.zeros(num_batches, 3, dtype=torch.float64)
    for one in done:
        if one.losses.crepa is not None:
            columns = torch.stack([torch.ones_like(one.losses.video), *one.losses.crepa])
            table[one.number] = columns.double().sum(dim=1).cpu()
    num_clips, score, own = ranks.sum(table).sum(dim=0).tolist()
    score, own = score / num_clips, own / num_clips
    return {"alignment": score, "self_similarity": own, "weight": weight, "loss": -weight * score}


def _columns(stream: NoisyStream, losses: Tensor, travel: Travel | None, parts: ReflexLosses | None) -> Tensor:
    """[B, COLUMNS], float64, on the CPU."""
    none = torch.zeros_like(losses)
    columns = [carries_loss(stream.weight), stream.sigma, losses]
    columns += [none] * 3 if travel is None else [travel.offset > 0, *travel]
    columns += [none + WITHOUT_REFLEXFLOW] * 2 if parts is None else list(parts)
    return torch.stack([column.double().cpu() for column in columns], dim=1)


def _read(batches: Sequence[Sequence[Visit]], table: Tensor) -> list[SampleLoss]:
    """Rows of clips that carry a loss.

    Raises:
        DataError: one is not finite; names its clip.
    """
    found = [
        (visit.sample.clip_id, SampleLoss(modality, sigma, loss, _measures(rolled, *rollout)))
        for batch, by_modality in zip(batches, table.tolist(), strict=True)
        for modality, rows in zip(MODALITIES, by_modality, strict=True)
        for visit, (carries, sigma, loss, rolled, *rollout) in zip(
            batch, rows, strict=False
        )  # the rows of a short batch end in zeros
        if carries
    ]
    if bad := [(clip, loss) for clip, loss in found if not math.isfinite(loss.loss)]:
        named = ", ".join(f"{clip} ({loss.modality}, sigma {loss.sigma:.3f}: {loss.loss})" for clip, loss in bad)
        raise DataError(
            f"the loss is not finite for {named}; the optimizer step was not taken. Look at these clips, or lower "
            f"learning_rate; the last checkpoint is whole."
        )
    return [loss for _, loss in found]


def _measures(rolled: float, offset: float, drift: float, *parts: float) -> RolloutMeasures | None:
    if not rolled:
        return None
    anti_drift, compensated = (None if part == WITHOUT_REFLEXFLOW else part for part in parts)
    return RolloutMeasures(offset, drift, anti_drift, compensated)
