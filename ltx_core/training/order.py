"""The order of training. A batch follows from the clips, the seed and its number alone, so resuming is exact."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from pydantic import ValidationError

from ltx_core.errors import ConfigError, DataError
from ltx_core.io.digest import text_digest
from ltx_core.training.config import TrainSettings
from ltx_core.training.samples import ClipInfo


class SampleOccurrence(NamedTuple):
    """One use of a clip in training. `number` counts those of the clip over the whole run, and names all randomness of
    this one."""

    sample: ClipInfo
    number: int


class Position(NamedTuple):
    """Where in the data a run is: the next batch to train on."""

    epoch: int
    batch: int


@dataclass(frozen=True)
class EpochPlan:
    """The batches of a run, numbered from 0 without end.

    An epoch has every clip `repeats` times. A batch holds clips of one bucket and one frame rate, so that video and
    audio lengths agree, and with `by_audio` clips that have audio or clips that have none, because a forward runs the
    audio's stream for all of them or for none; likewise clips that have references of one shape, or that have none. A
    bucket's last batch may be short; no clip is dropped to fill it or repeated beyond its count.
    """

    samples: tuple[ClipInfo, ...]
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
    def groups(self) -> dict[tuple[str, ...], tuple[ClipInfo, ...]]:
        """Clips that may share a batch, by what names their kind, independent of the order they come in."""
        found: dict[tuple[str, ...], list[ClipInfo]] = {}
        for clip in sorted(self.samples, key=lambda s: s.clip_id):
            found.setdefault(self._kind(clip), []).append(clip)
        return {key: tuple(found[key]) for key in sorted(found)}

    def _kind(self, clip: ClipInfo) -> tuple[str, ...]:
        """With audio it is named as before there were others, so that the order of such clips stays what it was."""
        without = self.by_audio and not clip.has_sound
        more = ["without sound"] if without else []
        if clip.reference is not None:
            more.append(f"reference {tuple(clip.reference)}")
        if clip.audio_reference:
            more.append(f"audio reference {clip.audio_reference}")
        if clip.keyframes:
            more.append(f"keyframes {clip.keyframes}")
        return clip.bucket, str(clip.frame_rate), *more


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


def learnable(clips: Sequence[ClipInfo], settings: TrainSettings) -> list[ClipInfo]:
    """Those of the clips that have a loss: of video that is computed, or of audio."""
    video, audio = settings.modalities != "audio", settings.modalities != "video"
    return [clip for clip in clips if (video and clip.has_video) or (audio and clip.has_audio_loss)]


def epoch_plan(settings: TrainSettings, clips: Sequence[ClipInfo]) -> EpochPlan:
    """The batches of a run, of those clips that are trained on.

    Raises:
        DataError: there is none.
    """
    trained = tuple(clip for clip in learnable(clips, settings) if clip.split == "train")
    return EpochPlan(trained, settings.batch_size, settings.seed, by_audio=settings.modalities != "video")


def in_steps(settings: TrainSettings, clips: Sequence[ClipInfo]) -> TrainSettings:
    """The same settings with `steps` in the place of `epochs`, so that both give the same run.

    An epoch has every clip of the train split `repeats` times; the last step may begin another.

    Raises:
        ConfigError: there are fewer steps than another setting needs.
        DataError: no clip is left to train on.
    """
    if settings.epochs is None:
        return settings
    plan = epoch_plan(settings, clips)
    batches = settings.epochs * plan.batches_per_epoch
    steps = math.ceil(batches / settings.gradient_accumulation_steps)
    try:
        return type(settings).model_validate(settings.model_dump() | {"steps": steps, "epochs": None})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{settings.epochs} epochs are {steps} steps: {reason}; raise epochs") from error
