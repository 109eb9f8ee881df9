"""The losses of a step, clip by clip, from wherever they were computed; those that are not finite are refused."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ltx_core.distributed.ranks import Ranks
from ltx_core.errors import DataError
from ltx_core.flow_matching.loss import carries_loss
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.metrics import SampleLoss
from ltx_core.training.objective import BatchLosses
from ltx_core.training.order import Visit

MODALITIES = ("video", "audio")
COLUMNS = 3
"""Whether the clip carries a loss, its sigma, its loss."""


def step_losses(
    batches: Sequence[Sequence[Visit]], done: Sequence[tuple[int, TrainBatch, BatchLosses]], ranks: Ranks
) -> tuple[list[SampleLoss], int]:
    """Losses of all batches of a step, and its tokens, on every rank; `done` are this rank's, by number in the step.

    Raises:
        DataError: a loss is not finite; names the clips.
        TransientError: another rank is gone.
    """
    widest = max(len(batch) for batch in batches)
    table = torch.zeros(len(batches), len(MODALITIES), widest, COLUMNS, dtype=torch.float64)
    for number, batch, losses in done:
        for modality, stream, values in ((0, batch.video, losses.video), (1, batch.audio, losses.audio)):
            if stream is not None and values is not None:
                table[number, modality, : len(values)] = _columns(stream, values)
    ranks.sum(table)
    num_tokens = ranks.sum(torch.tensor(sum(batch.num_tokens for _, batch, _ in done)))
    return _read(batches, table), int(num_tokens.item())


def step_alignment(
    num_batches: int, done: Sequence[tuple[int, BatchLosses]], ranks: Ranks, weight: float
) -> dict[str, float]:
    """What CREPA gave in a step, on every rank: means over its clips, equal however batches were shared among ranks.

    Raises:
        TransientError: another rank is gone.
    """
    table = torch.zeros(num_batches, 3, dtype=torch.float64)
    for number, losses in done:
        if losses.crepa is not None:
            table[number] = torch.stack([torch.ones_like(losses.crepa.score), *losses.crepa]).double().sum(dim=1).cpu()
    num_clips, score, own = ranks.sum(table).sum(dim=0).tolist()
    score, own = score / num_clips, own / num_clips
    return {"alignment": score, "self_similarity": own, "weight": weight, "loss": -weight * score}


def _columns(stream: NoisyStream, losses: Tensor) -> Tensor:
    carries = carries_loss(stream.weight).double()
    return torch.stack([carries, stream.sigma.double(), losses.double().cpu()], dim=1)


def _read(batches: Sequence[Sequence[Visit]], table: Tensor) -> list[SampleLoss]:
    """Rows of clips that carry a loss.

    Raises:
        DataError: one is not finite; names its clip.
    """
    found = [
        (visit.sample.clip_id, SampleLoss(modality, sigma, loss))
        for batch, by_modality in zip(batches, table.tolist(), strict=True)
        for modality, rows in zip(MODALITIES, by_modality, strict=True)
        for visit, (carries, sigma, loss) in zip(batch, rows, strict=False)  # the rows of a short batch end in zeros
        if carries
    ]
    if bad := [(clip, loss) for clip, loss in found if not math.isfinite(loss.loss)]:
        named = ", ".join(f"{clip} ({loss.modality}, sigma {loss.sigma:.3f}: {loss.loss})" for clip, loss in bad)
        raise DataError(
            f"the loss is not finite for {named}; the optimizer step was not taken. Look at these clips, or lower "
            f"learning_rate; the last checkpoint is whole."
        )
    return [loss for _, loss in found]
