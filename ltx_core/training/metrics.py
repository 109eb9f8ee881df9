"""Figures of a run, as rows that depend on settings and data alone; times go to the listener and are not kept."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple

from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.registry import METHODS

NUM_SIGMA_PARTS = 4
OF_STREAMS = [name for name, method in METHODS.items() if method.stream_measures]
"""Methods with figures of single streams, in the order in which a checkpoint has them."""
OF_STEPS = [name for name, method in METHODS.items() if method.clip_measures]
"""Methods with figures of steps."""
AVERAGES = {"video": "average_loss/video", "audio": "average_loss/audio"}
"""Names of what is kept of each stream's losses, once there are some."""
FIRST_VALUES = {name: value for method in METHODS.values() for name, value in method.keeps.items()}


class Metric(NamedTuple):
    """One value at one step."""

    step: int
    name: str
    value: float


class SampleLoss(NamedTuple):
    """The loss of one stream of a sample that carried one."""

    modality: str
    sigma: float
    loss: float
    measures: Mapping[str, tuple[float | None, ...]] = MappingProxyType({})
    """By method, its `stream_measures`; methods that had no part in it are absent."""

    def to_json(self) -> list[Any]:
        return [self.modality, self.sigma, self.loss, *(self.measures.get(name) for name in OF_STREAMS)]

    @classmethod
    def from_json(cls, stored: Sequence[Any]) -> "SampleLoss":
        """Checkpoints from before a method end with those that there were."""
        modality, sigma, loss, *found = stored
        return cls(modality, sigma, loss, {n: tuple(x) for n, x in zip(OF_STREAMS, found, strict=False) if x})


@dataclass(frozen=True)
class StepRecord:
    """The figures of one optimizer step."""

    learning_rate: float
    grad_norms: dict[str, float]
    """Joint norm before clipping, by `all`, `video`, `audio`, `cross` and methods with parameters; a group without
    trained layers is absent."""
    losses: tuple[SampleLoss, ...]
    methods: dict[str, dict[str, float]] = field(default_factory=dict)
    """Figures of methods by method and name; a method without any in this step is absent."""
    optimizer: dict[str, float] = field(default_factory=dict)
    """Figures of an optimizer that finds something out for itself, after the step."""
    audio_weight: float | None = None
    """Of the audio's loss, where it follows from the losses."""

    def to_json(self) -> dict[str, Any]:
        figures = {name: self.methods.get(name, {}) for name in OF_STEPS}
        losses = [loss.to_json() for loss in self.losses]
        own: dict[str, Any] = {"optimizer": self.optimizer} if self.optimizer else {}
        own |= {} if self.audio_weight is None else {"audio_weight": self.audio_weight}
        return {"learning_rate": self.learning_rate, "grad_norms": self.grad_norms, "losses": losses, **own, **figures}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "StepRecord":
        figures = {name: stored[name] for name in OF_STEPS if stored.get(name)}
        losses = tuple(SampleLoss.from_json(loss) for loss in stored["losses"])
        own = stored.get("optimizer", {}), stored.get("audio_weight")
        return cls(stored["learning_rate"], stored["grad_norms"], losses, figures, *own)


@dataclass
class History:
    """Rows reported so far, and the steps that the next report will sum up; saved with a checkpoint."""

    rows: list[Metric] = field(default_factory=list)
    pending: list[StepRecord] = field(default_factory=list)
    kept_values: dict[str, float | None] = field(default_factory=lambda: dict(FIRST_VALUES))
    """Values that methods, and the weight of the audio's loss, keep from step to step."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self.rows.extend(Metric(step, name, value) for name, value in values.items())

    def report(self, step: int) -> dict[str, float]:
        """Sum up the pending steps as rows of `step`."""
        values = summarise(self.pending)
        self.pending.clear()
        self.add(step, values)
        return values

    def at(self, step: int, name: str) -> float | None:
        return next((row.value for row in reversed(self.rows) if (row.step, row.name) == (step, name)), None)

    def copy(self) -> "History":
        """The same so far, which goes on for itself."""
        return History(list(self.rows), list(self.pending), dict(self.kept_values))

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "pending": [record.to_json() for record in self.pending], **self.kept_values}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "History":
        pending = [StepRecord.from_json(record) for record in stored["pending"]]
        kept_values = {name: stored.get(name, first) for name, first in FIRST_VALUES.items()}
        kept_values |= {name: stored[name] for name in AVERAGES.values() if name in stored}
        return cls([Metric(*row) for row in stored["rows"]], pending, kept_values)


def summarise(records: Sequence[StepRecord]) -> dict[str, float]:
    """Means over steps: `loss`, `loss/video`, `loss/video/sigma_q1` (sigma below 0.25) to `_q4`, `grad_norm/...`, and
    those of methods, `<method>/...`. `loss` is that of the streams alone, so that runs with and without a method that
    adds a term compare.

    A modality without a loss-carrying sample, or a part of the sigma range without one, has no value.
    """
    losses = [loss for record in records for loss in record.losses]
    values: dict[str, float] = {}
    for modality in ("video", "audio"):
        own = [loss for loss in losses if loss.modality == modality]
        if own:
            values[f"loss/{modality}"] = fmean(loss.loss for loss in own)
        for part in range(NUM_SIGMA_PARTS):
            inside = [loss.loss for loss in own if _sigma_part(loss.sigma) == part]
            if inside:
                values[f"loss/{modality}/sigma_q{part + 1}"] = fmean(inside)
        for name in OF_STREAMS:
            values |= _stream_values(name, modality, own)
    values["loss"] = values.get("loss/video", 0.0) + values.get("loss/audio", 0.0)
    for group in sorted({group for record in records for group in record.grad_norms}):
        values[f"grad_norm/{group}"] = fmean(r.grad_norms[group] for r in records if group in r.grad_norms)
    for name in OF_STEPS:
        found = [record.methods[name] for record in records if name in record.methods]
        values |= {f"{name}/{what}": fmean(one[what] for one in found) for what in sorted(found[0] if found else ())}
    values["learning_rate"] = records[-1].learning_rate
    if (weight := records[-1].audio_weight) is not None:
        values["loss_weight/audio"] = weight
    values |= {f"optimizer/{name}": value for name, value in records[-1].optimizer.items()}
    return values


def _stream_values(method: str, modality: str, losses: Sequence[SampleLoss]) -> dict[str, float]:
    """`<method>/<modality>/share` of the samples that it had a part in, and the means of its figures over those."""
    found = [loss.measures[method] for loss in losses if method in loss.measures]
    if not found:
        return {}
    values = {f"{method}/{modality}/share": len(found) / len(losses)}
    for number, name in enumerate(METHODS[method].stream_measures):
        if known := [value for measures in found if (value := measures[number]) is not None]:
            values[f"{method}/{modality}/{name}"] = fmean(known)
    return values


def _sigma_part(sigma: float) -> int:
    return min(math.floor(sigma * NUM_SIGMA_PARTS), NUM_SIGMA_PARTS - 1)


AVERAGE_DECAY = 0.99
"""Of the averages, in each step that has a loss of the stream."""
LEAST_WEIGHT, MOST_WEIGHT = 0.05, 4.0
"""Bounds of the audio's weight."""


def audio_weight(settings: TrainSettings, averages: Mapping[str, float | None]) -> float:
    """Weight of the audio's loss in the next step: `audio_loss_weight`, or with `audio_loss_ratio` what brings the
    audio's average to that fraction of the video's. It is 1 until both have been measured.

    Where one stream's loss is several times the other's, it decides what layers that serve both learn, and how far the
    clipped gradient leaves the others. The idea is that of other trainers, such as the musubi fork: averages over the
    steps, and a weight that brings the audio's to a fraction of the video's.
    """
    if settings.audio_loss_ratio is None:
        return settings.audio_loss_weight
    video, audio = (averages.get(name) for name in AVERAGES.values())
    if video is None or audio is None:
        return 1.0
    return min(max(settings.audio_loss_ratio * video / max(audio, 1e-12), LEAST_WEIGHT), MOST_WEIGHT)


def averaged(averages: Mapping[str, float | None], losses: Iterable[SampleLoss]) -> dict[str, float | None]:
    """The averages after a step with these losses."""
    found, known = dict(averages), list(losses)
    for modality, name in AVERAGES.items():
        own = [loss.loss for loss in known if loss.modality == modality]
        before = found.get(name)
        if own:
            found[name] = fmean(own) if before is None else AVERAGE_DECAY * before + (1 - AVERAGE_DECAY) * fmean(own)
    return found
