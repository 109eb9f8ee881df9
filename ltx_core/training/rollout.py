"""Rollouts of a batch: samples go back to a noisier place of their path and come again by the model's own steps.

The model is the one that the step begins with, LoRA included; no gradient goes through the way. It runs as for eval:
eagerly, uncompiled, all tokens in all blocks (a route is for learning, and sampling has none), outside any CUDA graph,
which gets the states as inputs. Picture and sound go together, each from its own noise level to its own, in as many
steps. What is given, a first frame, a prefix, a sound, stays clean and where it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.config import TrainSettings
from ltx_core.training.objective import Objective
from ltx_core.training.order import Visit
from ltx_core.training.rollout_draws import rollout_chance
from ltx_core.training.rollout_way import Travel, Way, spread


class RolledOut(NamedTuple):
    """A batch after its rollouts, on the device if there were any; how picture and sound travelled."""

    batch: TrainBatch
    video: Travel | None = None
    audio: Travel | None = None


def rollout_share(step: int, settings: TrainSettings) -> float:
    """The share of visits that optimizer step `step`, counted from 0, rolls out."""
    return 0.0 if settings.rollout is None else settings.rollout.share(step)


def any_rolls(objective: Objective, batches: Sequence[Sequence[Visit]], share: float) -> bool:
    """Whether a step rolls any of its visits out, whichever rank has it."""
    seed = objective.settings.seed
    return share > 0 and any(rollout_chance(visit, seed) < share for batch in batches for visit in batch)


@torch.no_grad()
def roll_out(objective: Objective, batch: TrainBatch, share: float, *, in_any_case: bool = False) -> RolledOut:
    """The batch as a step trains on it that rolls out that `share` of visits: they are where the model brings them.

    Their velocity target is the one that leads from there to the data. Only they go through the model: a batch without
    one costs nothing, unless it is to make as many forwards as other batches do `in_any_case`.
    """
    settings, draws = objective.settings.rollout, batch.rollout
    if settings is None or draws is None:
        return RolledOut(batch)
    chosen = draws.chosen(share)
    some = bool(chosen.any())
    if not some and not in_any_case:
        return RolledOut(_with_clean(batch, chosen, None) if settings.reflexflow else batch)
    rows = chosen.nonzero().flatten() if some else torch.zeros(1, dtype=torch.long)
    part = batch.rows(rows).to(objective.device)
    ways = _ways(batch, chosen, rows, part)
    arrived = _euler(objective, part, ways, settings.num_model_calls)
    clean = objective.predict(part) if settings.reflexflow else None  # by the routes that the prediction takes
    batch, rows = batch.to(objective.device), rows.to(objective.device)
    streams = [_replaced(stream, rows, new) for stream, new in zip(_streams(batch), arrived, strict=True)]
    travel = [way.travel(new.noisy, rows, len(chosen)) for way, new in zip(ways, arrived, strict=True)]
    batch = _of_streams(batch, streams)
    if clean is not None:
        batch = _with_clean(batch, chosen, [spread(v.float(), rows, len(chosen)) for v in clean if v is not None])
    return RolledOut(batch, *travel)


def _ways(batch: TrainBatch, chosen: Tensor, rows: Tensor, part: TrainBatch) -> list[Way]:
    """Those of the samples at `rows`; one that is not chosen stays where it is."""
    draws = batch.rollout
    assert draws is not None  # roll_out asked
    found = []
    # without sound there is one stream and a draw None
    for whole, stream, source in zip(_streams(batch), _streams(part), (draws.video, draws.audio), strict=False):
        assert source is not None  # sound has draws
        start = torch.where(chosen, source, whole.sigma)[rows]
        found.append(Way(stream, start.to(stream.sigma.device)))
    return found


def _euler(objective: Objective, part: TrainBatch, ways: Sequence[Way], num_calls: int) -> list[NoisyStream]:
    """All streams at the end of their ways, after `num_calls` equal steps of the model."""
    tokens = [way.start() for way in ways]
    for call in range(num_calls):
        done, then = call / num_calls, (call + 1) / num_calls
        states = [way.at(x, done) for way, x in zip(ways, tokens, strict=True)]
        velocities = objective.predict(replace(_of_streams(part, states), kept=()))
        moves = zip(ways, tokens, velocities, strict=False)  # without sound there is one way and a velocity None
        tokens = [way.step(x, velocity, done, then) for way, x, velocity in moves if velocity is not None]
    return [way.arrived(x) for way, x in zip(ways, tokens, strict=True)]


def _streams(batch: TrainBatch) -> list[NoisyStream]:
    return [batch.video] if batch.audio is None else [batch.video, batch.audio]


def _of_streams(batch: TrainBatch, streams: Sequence[NoisyStream]) -> TrainBatch:
    return replace(batch, video=streams[0], audio=streams[1] if len(streams) > 1 else None)


def _replaced(stream: NoisyStream, rows: Tensor, new: NoisyStream) -> NoisyStream:
    """The stream with other states and targets at `rows`."""
    noisy, target = (getattr(stream, name).index_copy(0, rows, getattr(new, name)) for name in ("noisy", "target"))
    return replace(stream, noisy=noisy, target=target)


def _with_clean(batch: TrainBatch, chosen: Tensor, clean: Sequence[Tensor] | None) -> TrainBatch:
    """What ReflexFlow wants of a batch, rolled out or not: so all batches of a shape have one form."""
    streams = _streams(batch)
    clean = clean or [torch.zeros_like(stream.noisy) for stream in streams]
    mark = chosen.to(streams[0].noisy)
    return _of_streams(
        batch, [replace(s, rolled_out=mark, clean_velocity=v) for s, v in zip(streams, clean, strict=True)]
    )
