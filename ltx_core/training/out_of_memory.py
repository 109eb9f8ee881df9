"""Too little memory, found before the run is under way and said in words that help."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from ltx_core.errors import OutOfMemory
from ltx_core.training.condition_settings import EXTENTS
from ltx_core.training.config import TrainSettings
from ltx_core.training.objective import Objective
from ltx_core.training.order import EpochPlan, SampleOccurrence
from ltx_core.training.step import Backward, backward_step

IN_THIS_ORDER = (
    "In this order: set activation_checkpointing to 1, base_precision to int8 or fp8, offloaded_blocks to all; "
    "then lower batch_size or rank, or use smaller or shorter buckets."
)


@contextmanager
def out_of_memory_errors(what: str, advice: str = "") -> Iterator[None]:
    """Turn a full device into an error that says the peak and what to change; `advice` is the memory plan's, if any.

    Raises:
        OutOfMemory: the device is full.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"out of device memory while {what} (peak {peak_mebibytes() or 0:.0f} MiB): {error}. "
            f"{advice or IN_THIS_ORDER}"
        ) from error


def peak_mebibytes() -> float | None:
    """Peak of device memory that this process allocated; None without a CUDA device."""
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None


def dry_run(
    objective: Objective,
    plan: EpochPlan,
    parameters: Mapping[str, torch.nn.Parameter],
    backward: Backward,
    *,
    advice: str = "",
) -> None:
    """Forward and backward of the largest batch of the run, with every method at its highest strength, so that too
    little memory shows at once.

    Nothing is kept: no gradient, and no random number that training would miss.

    Raises:
        OutOfMemory: it does not fit.
        DataError: its loss is not finite.
    """
    occurrences = largest_batch(objective, plan)
    objective = replace(objective, settings=_hungriest(objective.settings))
    what = f"trying the largest batch, {len(occurrences)} clips of {occurrences[0].sample.bucket}"
    with out_of_memory_errors(what, advice):
        backward_step(objective, [occurrences], backward=backward)
    for parameter in parameters.values():
        parameter.grad = None


def _hungriest(settings: TrainSettings) -> TrainSettings:
    """With every condition that the run has at some occurrence: timesteps by token cost memory, and so do appended
    tokens. Of a first frame and a prefix the longer stays possible, because routes set fewer tokens aside where more
    may be given."""
    always = {f"{kind}_probability": 1.0 for kind in EXTENTS if settings.probability(kind)}
    if settings.prefix_probability:
        always["first_frame_probability"] = 0.0
    return settings.model_copy(update={**always, "reference_dropout": 0.0})


def largest_batch(objective: Objective, plan: EpochPlan) -> tuple[SampleOccurrence, ...]:
    """The batch of an epoch with the most tokens, those of audio included where it runs."""
    return max(fullest_batches(objective, plan), key=lambda batch: len(batch) * _num_tokens(objective, batch))


def fullest_batches(objective: Objective, plan: EpochPlan) -> list[tuple[SampleOccurrence, ...]]:
    """A batch of each bucket of an epoch, with audio and without: of each the one of the most clips."""
    fullest: dict[tuple[str, bool], tuple[SampleOccurrence, ...]] = {}
    for batch in plan.epoch(0):
        kind = (batch[0].sample.bucket, objective.hears(batch))
        if len(batch) > len(fullest.get(kind, ())):
            fullest[kind] = batch
    return list(fullest.values())


def _num_tokens(objective: Objective, batch: Sequence[SampleOccurrence]) -> int:
    """Of one clip of the batch."""
    stored = objective.source.load(batch[0].sample.clip_id)
    audio = len(stored["audio"]) if objective.hears(batch) else 0
    return (int(stored["video"].shape[1:].numel()) if objective.sees(batch) else 0) + audio
