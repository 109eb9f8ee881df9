"""The order of training. A batch follows from the samples, the seed and its number alone, so resuming is exact."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from pydantic import ValidationError

from ltx_core.errors import ConfigError, DataError
from ltx_core.io.digest import text_digest
from ltx_core.training.config import TrainSettings
from ltx_core.training.samples import SampleInfo


class SampleOccurrence(NamedTuple):
    """One use of a clip in training. `number` counts those of the clip over the whole run, and names all randomness of
    this one."""

    sample: SampleInfo
    number: int


class Position(NamedTuple):
    """Where in the data a run is: the next batch to train on."""

    epoch: int
    batch: int


@dataclass(frozen=True)
class EpochPlan:
    """The batches of a run, numbered from 0 without end.

    An epoch has every clip `repeats` times. A batch holds clips of one bucket and one frame rate, so that video and
    audio lengths agree, and with `by_audio` clips that have sound or clips that have none, because a forward runs the
    sound's stream for all of them or for none; likewise clips that have references of one shape, or that have none. A
    bucket's last batch may be short; no clip is dropped to fill it or repeated beyond its count.
    """

    samples: tuple[SampleInfo, ...]
    batch_size: int
    seed: int
    by_audio: bool = True
    """False where only video is trained: then it is all one."""

    def __post_init__(self) -> None:
        if not self.samples:
            raise DataError("no clip is left to train on: all are held out or quarantined. Add footage.")

    @cached_property
    def batches_per_epoch(self) -> int:
        return len(self.epoch(0))

    def position(self, number: int) -> Position:
        return Position(*divmod(number, self.batches_per_epoch))

    def batch(self, number: int) -> tuple[SampleOccurrence, ...]:
        at = self.position(number)
        return self.epoch(at.epoch)[at.batch]

    def epoch(self, epoch: int) -> tuple[tuple[SampleOccurrence, ...], ...]:
        return _epoch(self, epoch)

    @cached_property
    def groups(self) -> dict[tuple[str, ...], tuple[SampleInfo, ...]]:
        """Samples that may share a batch, by what names their kind, independent of the order they come in."""
        found: dict[tuple[str, ...], list[SampleInfo]] = {}
        for sample in sorted(self.samples, key=lambda s: s.clip_id):
            found.setdefault(self._kind(sample), []).append(sample)
        return {key: tuple(found[key]) for key in sorted(found)}

    def _kind(self, sample: SampleInfo) -> tuple[str, ...]:
        """With sound it is named as before there were others, so that the order of such clips stays what it was."""
        without = self.by_audio and not sample.has_sound
        more = ["without sound"] if without else []
        if sample.reference is not None:
            more.append(f"reference {tuple(sample.reference)}")
        if sample.audio_reference:
            more.append(f"audio reference {sample.audio_reference}")
        if sample.keyframes:
            more.append(f"keyframes {sample.keyframes}")
        return sample.bucket, str(sample.frame_rate), *more


@lru_cache(maxsize=4)
def _epoch(plan: EpochPlan, epoch: int) -> tuple[tuple[SampleOccurrence, ...], ...]:
    batches: list[tuple[str, tuple[SampleOccurrence, ...]]] = []
    for kind, samples in plan.groups.items():
        occurrences = [SampleOccurrence(s, epoch * s.repeats + i) for s in samples for i in range(s.repeats)]
        occurrences.sort(
            key=lambda o: text_digest("visit", str(plan.seed), str(epoch), o.sample.clip_id, str(o.number))
        )
        for start in range(0, len(occurrences), plan.batch_size):
            key = text_digest("batch", str(plan.seed), str(epoch), *kind, str(start))
            batches.append((key, tuple(occurrences[start : start + plan.batch_size])))
    return tuple(batch for _, batch in sorted(batches, key=lambda item: item[0]))


def learnable(samples: Sequence[SampleInfo], settings: TrainSettings) -> list[SampleInfo]:
    """Those of the samples that have a loss: of video that is computed, or of audio."""
    video, audio = settings.modalities != "audio", settings.modalities != "video"
    return [sample for sample in samples if (video and sample.has_video) or (audio and sample.has_audio_loss)]


def epoch_plan(settings: TrainSettings, samples: Sequence[SampleInfo]) -> EpochPlan:
    """The batches of a run, of those samples that are trained on.

    Raises:
        DataError: there is none.
    """
    trained = tuple(sample for sample in learnable(samples, settings) if sample.split == "train")
    return EpochPlan(trained, settings.batch_size, settings.seed, by_audio=settings.modalities != "video")


def in_steps(settings: TrainSettings, samples: Sequence[SampleInfo]) -> TrainSettings:
    """The same settings with `steps` in the place of `epochs`, so that both give the same run.

    An epoch has every clip of the train split `repeats` times; the last step may begin another.

    Raises:
        ConfigError: there are fewer steps than another setting needs.
        DataError: no clip is left to train on.
    """
    if settings.epochs is None:
        return settings
    plan = epoch_plan(settings, samples)
    batches = settings.epochs * plan.batches_per_epoch
    steps = math.ceil(batches / settings.gradient_accumulation_steps)
    try:
        return type(settings).model_validate(settings.model_dump() | {"steps": steps, "epochs": None})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{settings.epochs} epochs are {steps} steps: {reason}; raise epochs") from error
