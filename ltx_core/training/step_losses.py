"""The figures of a step's batches, on every rank: losses by sample, figures of methods, tokens."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ltx_core.distributed.ranks import Ranks
from ltx_core.errors import DataError
from ltx_core.flow_matching import carries_loss
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.methods.method import BatchLosses, TrainingMethod
from ltx_core.training.metrics import SampleLoss
from ltx_core.training.order import SampleOccurrence

MODALITIES = ("video", "audio")
COLUMNS = 3
"""1 if the sample carries a loss, else 0; its sigma; its loss; then the figures of methods, NaN where it has none."""


class Done(NamedTuple):
    """A batch whose backward has run."""

    number: int
    """In its step."""
    batch: TrainBatch
    """As it was loaded."""
    losses: BatchLosses
    """With the measures that the batch came to the forward with."""


class StepLosses(NamedTuple):
    """The figures of an optimizer step."""

    losses: list[SampleLoss]
    """In the order of its batches."""
    num_tokens: int
    methods: dict[str, dict[str, float]]
    """As in `StepRecord`."""


def gather_step_losses(
    batches: Sequence[Sequence[SampleOccurrence]],
    done: Sequence[Done],
    methods: Sequence[TrainingMethod],
    strengths: Mapping[str, float],
    ranks: Ranks,
) -> StepLosses:
    """Figures of all batches of a step, of which `done` are this rank's; the GPU is waited for.

    Raises:
        DataError: a loss is not finite; names the clips.
        TransientError: another rank is gone.
    """
    widest = max(len(batch) for batch in batches)
    names = [(method.name, method.stream_measures) for method in methods if method.stream_measures]
    width = COLUMNS + sum(len(measures) for _, measures in names)
    table = torch.zeros(len(batches), len(MODALITIES), widest, width, dtype=torch.float64)
    for one in done:
        for number, modality in enumerate(MODALITIES):
            stream, found = getattr(one.batch, modality), getattr(one.losses, modality)
            if stream is not None and found is not None:
                wanted = [f"{method}/{modality}/{name}" for method, measures in names for name in measures]
                table[one.number, number, : len(found)] = _columns(stream, found, one.losses.measures, wanted)
    ranks.sum(table)
    num_tokens = ranks.sum(torch.tensor(sum(one.batch.num_tokens for one in done)))
    losses = _read(batches, table, names)
    figures = {
        method.name: _figures(len(batches), done, method, strengths[method.name], ranks)
        for method in methods
        if method.clip_measures and strengths[method.name]
    }
    return StepLosses(losses, int(num_tokens.item()), figures)


def _figures(
    num_batches: int, done: Sequence[Done], method: TrainingMethod, strength: float, ranks: Ranks
) -> dict[str, float]:
    """The figures of a method, equal however batches were shared among ranks."""
    table = torch.zeros(num_batches, 1 + len(method.clip_measures), dtype=torch.float64)
    for one in done:
        found = [one.losses.measures[f"{method.name}/{name}"] for name in method.clip_measures]
        table[one.number] = torch.stack([torch.ones_like(found[0]), *found]).double().sum(dim=1).cpu()
    num_clips, *sums = ranks.sum(table).sum(dim=0).tolist()
    means = {name: total / num_clips for name, total in zip(method.clip_measures, sums, strict=True)}
    return method.figures(means, strength)


def _columns(stream: NoisyStream, losses: Tensor, measures: Mapping[str, Tensor], wanted: Sequence[str]) -> Tensor:
    """[B, COLUMNS + len(wanted)], float64, on the CPU."""
    absent = torch.full_like(losses, torch.nan)
    columns = [carries_loss(stream.weight), stream.sigma, losses, *(measures.get(name, absent) for name in wanted)]
    return torch.stack([column.double().cpu() for column in columns], dim=1)


def _read(
    batches: Sequence[Sequence[SampleOccurrence]], table: Tensor, names: Sequence[tuple[str, Sequence[str]]]
) -> list[SampleLoss]:
    """Rows of samples that carry a loss.

    Raises:
        DataError: one is not finite; names its clip.
    """
    found = [
        (occurrence.sample.clip_id, SampleLoss(modality, sigma, loss, _measures(measures, names)))
        for batch, by_modality in zip(batches, table.tolist(), strict=True)
        for modality, rows in zip(MODALITIES, by_modality, strict=True)
        for occurrence, (carries, sigma, loss, *measures) in zip(
            batch, rows, strict=False
        )  # a short batch ends in zeros
        if carries
    ]
    if bad := [(clip, loss) for clip, loss in found if not math.isfinite(loss.loss)]:
        named = ", ".join(f"{clip} ({loss.modality}, sigma {loss.sigma:.3f}: {loss.loss})" for clip, loss in bad)
        raise DataError(
            f"the loss is not finite for {named}; the optimizer step was not taken. Look at these clips, or lower "
            f"learning_rate; the last checkpoint is whole."
        )
    return [loss for _, loss in found]


def _measures(
    values: Sequence[float], names: Sequence[tuple[str, Sequence[str]]]
) -> dict[str, tuple[float | None, ...]]:
    """By method; one whose first value is absent had no part in the sample."""
    left, found = list(values), {}
    for method, measures in names:
        own, left = left[: len(measures)], left[len(measures) :]
        if not math.isnan(own[0]):
            found[method] = tuple(None if math.isnan(value) else value for value in own)
    return found
