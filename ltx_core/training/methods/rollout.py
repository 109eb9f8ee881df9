"""Rollouts: samples go back to a noisier place of their path and come again by the model's own steps.

The model is the one that the step begins with, LoRA included; no gradient goes through the trajectory. It runs as for
eval: eagerly, uncompiled, all tokens in all blocks (a route is for learning, and sampling has none), outside any CUDA
graph, which gets the states as inputs. Video and audio go together, each from its own noise level to its own, in as
many steps. Conditioning (a first frame, a prefix, clean audio) stays clean and where it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from ltx_core.rng import occurrence_generator
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.method import BatchLosses, Forward, KeptValues, Setup, Step, TrainingMethod
from ltx_core.training.methods.settings import RolloutSettings
from ltx_core.training.order import SampleOccurrence

if TYPE_CHECKING:
    from ltx_core.training.objective import Objective

CHANCE = "rollout.chance"
"""[B] in [0, 1), float64: a sample is rolled out where that is below the fraction of the step."""
SOURCE = "rollout.{}_source"
"""[B] noise level that the video or audio of a sample would start from."""
ROLLED_OUT = "rollout.rolled_out"
"""[B], 1 for samples that the model brought to where they are; only with ReflexFlow, whose loss they have."""
CLEAN = "rollout.{}_clean"
"""[B, T, C]: the model's velocity of those samples on the straight path; only with ReflexFlow."""


class Rollout(TrainingMethod):
    """Rolls out a fraction of a step's samples, its strength, and gives them ReflexFlow's loss where it is on."""

    name = "rollout"
    example: ClassVar = {"probability": 0.7, "ramp_steps": 2, "max_sigma_offset": 0.4, "reflexflow": True}
    stream_measures = ("offset", "drift", "anti_drift", "compensated")
    """Noise that the model took away, in sigma; root mean square of the distance to the straight path; ReflexFlow's two
    losses, not weighted yet."""

    def __init__(self, settings: TrainSettings) -> None:
        assert settings.rollout is not None  # or the method would be off
        self.settings, self.own = settings, settings.rollout

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """As the contract says."""
        return cls(setup.settings)

    def tensors(
        self, batch: TrainBatch, occurrences: Sequence[SampleOccurrence], loaded: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The draws of the samples, whose noise levels are known. They stay on the CPU: the host decides by them.

        Where video and audio have the same noise level they have the same trajectory. A stream at sigma 0 stays there.
        """
        seed = self.settings.seed
        found = {
            CHANCE: torch.tensor([rollout_chance(occurrence, seed) for occurrence in occurrences], dtype=torch.float64)
        }
        for modality, stream in _streams(batch).items():
            purpose = modality if self.settings.independent_sigmas else "video"
            offsets = torch.tensor([_offset(v, seed, purpose, self.own) for v in occurrences], dtype=torch.float32)
            found[SOURCE.format(modality)] = source_sigma(stream.sigma, offsets)
        return found

    def strength(self, step: int, kept: KeptValues) -> float:
        """The fraction of the samples by its ramp."""
        return self.own.fraction(step)

    def before_forward(self, batch: TrainBatch, step: Step, objective: "Objective") -> TrainBatch:
        """The batch after its rollouts.

        Blocks that are sharded come together only when all ranks run them: there, if any sample of the step is rolled
        out, every batch makes as many forwards.
        """
        together = objective.sharded and any_rolls(step.batches, step.strength, self.settings.seed)
        return roll_out(self.own, objective, batch, step.strength, in_any_case=together)

    def losses(self, forward: Forward, found: BatchLosses) -> BatchLosses:
        """With ReflexFlow's losses for samples that were rolled out."""
        mark, measures = forward.extras.get(ROLLED_OUT), dict(found.measures)
        if mark is None:
            return found
        changed: dict[str, Tensor] = {}
        for modality, stream in forward.streams():
            velocity, clean = forward.velocities[modality], forward.extras[CLEAN.format(modality)]
            alpha = self.own.reflexflow_alpha
            parts = reflex_losses(velocity, stream.target, stream.weight, clean, alpha=alpha)
            both = self.own.reflexflow_beta1 * parts.anti_drift + self.own.reflexflow_beta2 * parts.compensated
            changed[modality] = torch.where(mark > 0, both, getattr(found, modality))
            measures |= {f"rollout/{modality}/{name}": x for name, x in parts.detach()._asdict().items()}
        return BatchLosses(changed["video"], changed.get("audio"), found.terms, measures)


def any_rolls(batches: Sequence[Sequence[SampleOccurrence]], fraction: float, seed: int) -> bool:
    """True if a step rolls any of its samples out, whichever rank has it."""
    return fraction > 0 and any(
        rollout_chance(occurrence, seed) < fraction for batch in batches for occurrence in batch
    )


def chosen(batch: TrainBatch, fraction: float) -> Tensor:
    """The samples that are rolled out: bool [B]. A larger fraction has those of a smaller one, and others."""
    return batch.extras[CHANCE] < fraction


@torch.no_grad()
def roll_out(
    settings: RolloutSettings, objective: "Objective", batch: TrainBatch, fraction: float, *, in_any_case: bool = False
) -> TrainBatch:
    """The batch as a step trains on it that rolls out this `fraction` of its samples: they are where the model
    brings them, and the batch is then on the device.

    Their velocity target is the one that leads from there to the data. Only they go through the model: a batch without
    one costs nothing, unless it is to make as many forwards as other batches do `in_any_case`.
    """
    mark = chosen(batch, fraction)
    some = bool(mark.any())
    if not some and not in_any_case:
        batch = _without_draws(batch)
        return _with_clean(batch, mark, None) if settings.reflexflow else batch
    rows = mark.nonzero().flatten() if some else torch.zeros(1, dtype=torch.long)
    part = replace(batch, extras=objective.steering(batch.extras)).rows(rows).to(objective.device)
    paths = _trajectories(batch, mark, rows, part)
    arrived = _euler(objective, part, paths, settings.num_model_calls)
    clean = objective.predict(part) if settings.reflexflow else None  # by the routes that the prediction takes
    batch, rows, size = _without_draws(batch).to(objective.device), rows.to(objective.device), len(mark)
    streams = {name: _replaced(stream, rows, arrived[name]) for name, stream in _streams(batch).items()}
    measures = dict(batch.measures)
    for name, path in paths.items():
        measures |= {f"rollout/{name}/{what}": x for what, x in path.measures(arrived[name].noisy, rows, size).items()}
    batch = replace(batch, video=streams["video"], audio=streams.get("audio"), measures=measures)
    if clean is None:
        return batch
    return _with_clean(batch, mark, [_spread(v.float(), rows, size) for v in clean if v is not None])


def _trajectories(batch: TrainBatch, mark: Tensor, rows: Tensor, part: TrainBatch) -> dict[str, "RolloutTrajectory"]:
    """Those of the samples at `rows`, by modality; one that is not marked stays where it is."""
    whole, found = _streams(batch), {}
    for modality, stream in _streams(part).items():
        start = torch.where(mark, batch.extras[SOURCE.format(modality)], whole[modality].sigma)[rows]
        found[modality] = RolloutTrajectory(stream, start.to(stream.sigma.device))
    return found


def _euler(
    objective: "Objective", part: TrainBatch, paths: Mapping[str, "RolloutTrajectory"], num_calls: int
) -> dict[str, NoisyStream]:
    """All streams at the end of their trajectories, after `num_calls` equal steps of the model."""
    tokens = {modality: path.start() for modality, path in paths.items()}
    for call in range(num_calls):
        done, then = call / num_calls, (call + 1) / num_calls
        states = {modality: path.at(tokens[modality], done) for modality, path in paths.items()}
        velocities = objective.predict(replace(part, video=states["video"], audio=states.get("audio"), extras={}))
        moves = zip(paths.items(), velocities, strict=False)  # without audio there is one path and a velocity None
        tokens = {name: path.step(tokens[name], v, done, then) for (name, path), v in moves if v is not None}
    return {modality: path.arrived(tokens[modality]) for modality, path in paths.items()}


def _streams(batch: TrainBatch) -> dict[str, NoisyStream]:
    return {"video": batch.video} if batch.audio is None else {"video": batch.video, "audio": batch.audio}


def _replaced(stream: NoisyStream, rows: Tensor, new: NoisyStream) -> NoisyStream:
    """The stream with other states and targets at `rows`."""
    noisy, target = (getattr(stream, name).index_copy(0, rows, getattr(new, name)) for name in ("noisy", "target"))
    return replace(stream, noisy=noisy, target=target)


def _without_draws(batch: TrainBatch) -> TrainBatch:
    return replace(batch, extras={name: x for name, x in batch.extras.items() if not name.startswith("rollout.")})


def _with_clean(batch: TrainBatch, mark: Tensor, clean: Sequence[Tensor] | None) -> TrainBatch:
    """With the tensors that ReflexFlow's loss reads, rolled out or not: so all batches of a shape have one form."""
    streams = _streams(batch)
    clean = clean or [torch.zeros_like(stream.noisy) for stream in streams.values()]
    found = {CLEAN.format(modality): velocity for modality, velocity in zip(streams, clean, strict=True)}
    return replace(batch, extras={**batch.extras, ROLLED_OUT: mark.to(batch.video.noisy), **found})


def rollout_chance(occurrence: SampleOccurrence, seed: int) -> float:
    """In [0, 1): the occurrence is rolled out in steps with a larger fraction."""
    return _uniform(occurrence, seed, "rollout")


def _offset(occurrence: SampleOccurrence, seed: int, stream: str, settings: RolloutSettings) -> float:
    u = _uniform(occurrence, seed, f"rollout/{stream}")
    drawn = {"uniform": u, "biased_early": u * u, "biased_late": 1 - u * u}[settings.strategy]
    return drawn * settings.max_sigma_offset


def _uniform(occurrence: SampleOccurrence, seed: int, purpose: str) -> float:
    generator = occurrence_generator(seed, occurrence.number, occurrence.sample.clip_id, purpose)
    return torch.rand((), generator=generator, dtype=torch.float64).item()


@dataclass(frozen=True)
class RolloutTrajectory:
    """The trajectory of one stream's samples from noise level `source`, [B], to their own; somebody else gives the
    velocities."""

    stream: NoisyStream
    source: Tensor

    def level(self, done: float) -> Tensor:
        """The noise level [B] when the fraction `done` lies behind."""
        return torch.lerp(self.source, self.stream.sigma, done)

    @property
    def relative_level(self) -> Tensor:
        """[B, 1 or T]: the noise level of a token as a part of its sample's; 0 of clean tokens, between 0 and 1 of
        conditioning at a strength below 1."""
        sigma, times = self.stream.sigma[:, None], self.stream.timesteps.view(len(self.source), -1)
        return torch.where(sigma > 0, times / sigma.clamp(min=torch.finfo(sigma.dtype).tiny), 0.0)

    def start(self) -> Tensor:
        """The tokens at the source, on the straight path; conditioning tokens as they are."""
        x = self.stream
        now, then = (self.relative_level * level[:, None] for level in (x.sigma, self.source))
        return torch.where(x.clean[:, :, None], x.noisy, on_straight_path(x.noisy, x.target, now, then))

    def at(self, tokens: Tensor, done: float) -> NoisyStream:
        """The stream as the model sees it on the way."""
        level = self.level(done)
        times = level if self.stream.timesteps.ndim == 1 else level[:, None] * self.relative_level
        return replace(self.stream, noisy=tokens, sigma=level, timesteps=times)

    def step(self, tokens: Tensor, velocity: Tensor, done: float, then: float) -> Tensor:
        """Euler's step from the fraction `done` to `then`, in float32."""
        length = (self.relative_level * (self.level(then) - self.level(done))[:, None])[:, :, None]
        return torch.where(self.stream.clean[:, :, None], tokens, tokens + length * velocity.float())

    def arrived(self, tokens: Tensor) -> NoisyStream:
        """The stream where the model brought it, and the velocity from there to the data."""
        times = self.stream.timesteps.view(len(tokens), -1)
        target = target_off_path(self.stream.target, tokens - self.stream.noisy, times)
        return replace(self.stream, noisy=tokens, target=target)

    def measures(self, tokens: Tensor, rows: Tensor, size: int) -> dict[str, Tensor]:
        """`offset` and `drift` [size] of a batch whose samples at `rows` arrived with `tokens`; NaN of the others, and
        of samples without a way to go."""
        moving = ~self.stream.clean[:, :, None]
        count = (moving.sum(dim=(1, 2)) * tokens.shape[2]).clamp(min=1)
        drift = ((tokens - self.stream.noisy).square() * moving).sum(dim=(1, 2)) / count
        offset = self.source - self.stream.sigma
        found = {"offset": offset, "drift": drift.sqrt()}
        moved = {name: torch.where(offset > 0, values, torch.nan) for name, values in found.items()}
        return {name: _spread(values, rows, size, torch.nan) for name, values in moved.items()}


def _spread(values: Tensor, rows: Tensor, size: int, elsewhere: float = 0.0) -> Tensor:
    """Values of the samples at `rows` in a batch of `size`, `elsewhere` at the others."""
    return values.new_full((size, *values.shape[1:]), elsewhere).index_copy(0, rows, values)


def source_sigma(sigma: Tensor, offset: Tensor) -> Tensor:
    """Noise level [B] that a rollout to `sigma`, [B], starts from: `offset` more, but no more than is left, and 1.

    No more than is left, because the error of the way is made good over what is left: it enters the velocity target
    times offset / sigma, which at a small sigma would outweigh everything. Samplers hold to it too: of n equal steps
    each but the last is followed by at least its own length.
    """
    return torch.minimum(sigma + offset, 2 * sigma).clamp(max=1)


def on_straight_path(noisy: Tensor, velocity: Tensor, sigma: Tensor, at: Tensor) -> Tensor:
    """The state at noise level `at` on the straight path through `noisy` at `sigma`: [B, T, C] twice, [B] twice, or
    [B, 1 or T] where tokens differ."""
    return noisy + _for_tokens(at - sigma) * velocity


def target_off_path(straight: Tensor, drift: Tensor, sigma: Tensor) -> Tensor:
    """The velocity (x - x_0) / sigma from the data x_0 to a state x that is `drift` beside the straight path.

    One exact step of length sigma along it lands on the data, from wherever x is. On the straight path it is noise
    minus data, `straight`, to the bit; beside it, noise minus data would lead to a place as far beside the data and so
    would teach the model to keep its error. It is also the drift's rectification in Huang et al., ReflexFlow (arXiv
    2512.04904), whose direction alone they use. [B, T, C] twice, [B] or [B, 1 or T]; where sigma is 0 nothing may have
    drifted.
    """
    by = torch.where(sigma > 0, sigma, torch.ones_like(sigma))
    return straight + drift / _for_tokens(by)


def _for_tokens(levels: Tensor) -> Tensor:
    return levels.reshape(*levels.shape, *(1,) * (3 - levels.ndim))


SMALLEST_NORM = 1e-8


class ReflexLosses(NamedTuple):
    """The two parts, each [B]; 0 for a sample without a weighted token."""

    anti_drift: Tensor
    compensated: Tensor

    def detach(self) -> "ReflexLosses":
        """The values alone."""
        return ReflexLosses(self.anti_drift.detach(), self.compensated.detach())


def reflex_losses(prediction: Tensor, target: Tensor, weight: Tensor, clean: Tensor, *, alpha: float) -> ReflexLosses:
    """Both parts of the loss of velocities [B, T, C]; `weight`, [B, T], is what a token counts, 0 where it has no loss.

    ReflexFlow's loss of states that the model reached itself (Huang et al. 2025, arXiv 2512.04904). Its authors
    withdrew that text for revision and published the method as DEFAR (arXiv 2606.28226); two parts:

        anti-drift rectification ADR = || v / ||v|| - d / ||d|| ||^2 with d = x - x_0, from the data to the drifted
        state
        frequency compensation FC = mean over values of w (v - d / sigma)^2, w = (1 + alpha b / mean b) / (1 + alpha)

    with the exposure bias b = |v - v_clean|, v_clean being predicted on the straight path; the loss of a sample is
    beta1 ADR + beta2 FC. Norms and means are over the values of a sample that carry a loss, each as much as it counts.
    FC is called so because its authors found b to hold the low frequencies that early denoising misses; it computes
    none.

    What differs from the trainer whose alpha and betas these are (docs/guide.md): it divides b by its sum and not its
    mean, so that the weights of a video's million values are 1 to six digits; b keeps its sign there, so that half of
    what is spoilt counts less; and its velocity target is the straight path's, which ADR contradicts. Here both want
    one velocity.

    `target` is the velocity (x - x_0) / sigma, whose direction is that of d. The bias is measured, not learnt from:
    no gradient goes through it.
    """
    counts = weight.float()[:, :, None]
    prediction, target = (torch.where(counts > 0, x.float(), 0.0) for x in (prediction, target))
    said, wanted = (
        functional.normalize((counts.sqrt() * x).flatten(1), dim=1, eps=SMALLEST_NORM) for x in (prediction, target)
    )
    anti_drift = (said - wanted).square().sum(dim=1)
    total = (counts.sum(dim=(1, 2)) * prediction.shape[2]).clamp(min=SMALLEST_NORM)
    bias = torch.where(counts > 0, prediction.detach() - clean.float(), 0.0).abs()
    mean = (counts * bias).sum(dim=(1, 2), keepdim=True) / total[:, None, None]
    relative = torch.where(mean > 0, bias / mean.clamp(min=SMALLEST_NORM), 1.0)
    emphasis = counts * (1 + alpha * relative) / (1 + alpha)
    compensated = (emphasis * (prediction - target).square()).sum(dim=(1, 2)) / total
    return ReflexLosses(anti_drift, compensated)
