"""What is measured, as rows that depend on settings and data alone; times go to the listener and are not kept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

NUM_SIGMA_PARTS = 4


class Metric(NamedTuple):
    """One value at one step."""

    step: int
    name: str
    value: float


class RolloutMeasures(NamedTuple):
    """Of one sample that was rolled out; its loss is of where the model brought it."""

    offset: float
    """Noise that the model took away, in sigma."""
    drift: float
    """Root mean square of the distance to the straight path."""
    anti_drift: float | None
    compensated: float | None
    """ReflexFlow's two losses, not weighted yet; None without it."""


class SampleLoss(NamedTuple):
    """The loss of one sample that carried one."""

    modality: str
    sigma: float
    loss: float
    rollout: RolloutMeasures | None = None


@dataclass(frozen=True)
class StepRecord:
    """What one optimizer step gave."""

    learning_rate: float
    grad_norms: dict[str, float]
    """Joint norm before clipping, by `all`, `video`, `audio`, `cross`; a group without trained layers is absent."""
    losses: tuple[SampleLoss, ...]
    crepa: dict[str, float] = field(default_factory=dict)
    """`alignment`, `self_similarity`, `weight` and `loss` of hidden states; empty where none are aligned."""


@dataclass
class History:
    """Rows reported so far, and the steps that the next report will sum up; saved with a checkpoint."""

    rows: list[Metric] = field(default_factory=list)
    pending: list[StepRecord] = field(default_factory=list)
    similarity: float | None = None
    """Average self-similarity of hidden states, as `crepa_weight.smoothed` makes it; None before CREPA's first step."""

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

    def to_json(self) -> dict[str, Any]:
        pending = [asdict(record) for record in self.pending]
        return {"rows": self.rows, "pending": pending, "similarity": self.similarity}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "History":
        pending = [
            StepRecord(**{**r, "losses": tuple(_sample_loss(*loss) for loss in r["losses"])}) for r in stored["pending"]
        ]
        return cls([Metric(*row) for row in stored["rows"]], pending, stored.get("similarity"))


def summarise(records: Sequence[StepRecord]) -> dict[str, float]:
    """Means over steps: `loss`, `loss/video`, `loss/video/sigma_q1` (sigma below 0.25) to `_q4`, `grad_norm/...`,
    `crepa/...`. `loss` is that of the velocities alone, so that runs with and without CREPA compare.

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
        values |= _rollout_values(modality, own)
    values["loss"] = values.get("loss/video", 0.0) + values.get("loss/audio", 0.0)
    for group in sorted({group for record in records for group in record.grad_norms}):
        values[f"grad_norm/{group}"] = fmean(r.grad_norms[group] for r in records if group in r.grad_norms)
    aligned = [record.crepa for record in records if record.crepa]
    values |= {
        f"crepa/{name}": fmean(found[name] for found in aligned) for name in sorted(aligned[0] if aligned else ())
    }
    values["learning_rate"] = records[-1].learning_rate
    return values


def _rollout_values(modality: str, losses: Sequence[SampleLoss]) -> dict[str, float]:
    """`rollout/video/share` of the samples, and means over those: `offset`, `drift`, ReflexFlow's two parts."""
    rolled = [loss.rollout for loss in losses if loss.rollout is not None]
    if not rolled:
        return {}
    values = {f"rollout/{modality}/share": len(rolled) / len(losses)}
    for name in RolloutMeasures._fields:
        found = [value for measures in rolled if (value := getattr(measures, name)) is not None]
        if found:
            values[f"rollout/{modality}/{name}"] = fmean(found)
    return values


def _sample_loss(modality: str, sigma: float, loss: float, rollout: Sequence[float] | None = None) -> SampleLoss:
    """As JSON has it; checkpoints from before there were rollouts end with the loss."""
    return SampleLoss(modality, sigma, loss, None if rollout is None else RolloutMeasures(*rollout))


def _sigma_part(sigma: float) -> int:
    return min(math.floor(sigma * NUM_SIGMA_PARTS), NUM_SIGMA_PARTS - 1)
