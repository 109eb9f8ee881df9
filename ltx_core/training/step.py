"""One optimizer step: forward and backward of its batches, the checks, the update.

A GPU is given all work up to the norms of the gradients before it is waited for: what the host does for thousands of
matrices, it does while the GPU still computes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ltx_core.adapters.lora_layout import stream_of
from ltx_core.distributed.ranks import ALONE, Ranks
from ltx_core.engine.arena import pieces
from ltx_core.engine.assemble import weight_stream
from ltx_core.engine.graphs import StepGraphs
from ltx_core.errors import DataError
from ltx_core.flow_matching.reflexflow import ReflexLosses
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.crepa import PREFIX, Alignment
from ltx_core.training.draws import carries_audio_loss
from ltx_core.training.metrics import SampleLoss, StepRecord
from ltx_core.training.objective import (
    BatchLosses,
    Done,
    Objective,
    loss_shares,
    step_alignment,
    step_losses,
    total_loss,
)
from ltx_core.training.optimizer import Optimizer
from ltx_core.training.order import EpochPlan, Visit
from ltx_core.training.prefetch import Load
from ltx_core.training.rollout import any_rolls, roll_out

VIDEO, AUDIO, KEPT, FEATURES = "video.", "audio.", "kept.", "features"


class Backward(Protocol):
    """Adds the gradients of a batch's share of a step to those of the parameters."""

    def __call__(self, batch: TrainBatch, num_video: int, num_audio: int, crepa_weight: float = 0.0) -> BatchLosses:
        """Losses by sample, detached. The step's mean is over `num_video` and `num_audio` samples. The alignment of
        hidden states counts `crepa_weight`; at 0 it is not computed."""
        ...


class EagerBackward:
    """Forward and backward as PyTorch runs them."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def __call__(self, batch: TrainBatch, num_video: int, num_audio: int, crepa_weight: float = 0.0) -> BatchLosses:
        """As the protocol says."""
        losses = self._objective.losses(_aligned_if(batch, crepa_weight))
        audio_weight = self._objective.settings.audio_loss_weight
        total_loss(losses, loss_shares(num_video, num_audio, audio_weight, crepa_weight)).backward()
        return losses.detach()


class GraphedBackward:
    """A CUDA graph for each form of batch. Contexts of captions are looked up outside, being a cache."""

    def __init__(self, objective: Objective, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._objective = objective
        self._graphs = StepGraphs(self._work, parameters, weight_stream(objective.transformer))

    def __call__(self, batch: TrainBatch, num_video: int, num_audio: int, crepa_weight: float = 0.0) -> BatchLosses:
        """As the protocol says."""
        batch = _aligned_if(batch, crepa_weight).to(self._objective.device)
        contexts = self._objective.contexts(batch.captions, self._objective.device)
        audio_weight = self._objective.settings.audio_loss_weight
        if batch.audio is None:
            num_audio = 0  # or such batches would have two forms, by whether others of their step have sound
        shares = loss_shares(num_video, num_audio, audio_weight, crepa_weight)
        on_device = {name: torch.tensor(share, device=self._objective.device) for name, share in shares.items()}
        found = {name: tensor.clone() for name, tensor in self._graphs(_inputs(batch, contexts) | on_device).items()}
        crepa = Alignment(found["score"], found["self_similarity"]) if "score" in found else None
        return BatchLosses(found["video"], found.get("audio"), crepa, _parts(found, VIDEO), _parts(found, AUDIO))

    def _work(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        video, audio = _stream(inputs, VIDEO), _stream(inputs, AUDIO)
        assert video is not None  # every batch has pictures
        contexts = inputs["video_context"], inputs["audio_context"]
        kept = [inputs[name] for name in sorted(inputs) if name.startswith(KEPT)]
        losses = self._objective.losses_of(video, audio, contexts, kept, inputs.get(FEATURES))
        total_loss(losses, inputs).backward()
        return _results(losses.detach())


def _aligned_if(batch: TrainBatch, weight: float) -> TrainBatch:
    """The batch, without features where alignment counts nothing."""
    return batch if weight else replace(batch, features=None)


def _results(losses: BatchLosses) -> dict[str, Tensor]:
    """Losses by name."""
    results = {"video": losses.video}
    if losses.audio is not None:
        results["audio"] = losses.audio
    for prefix, parts in ((VIDEO, losses.video_parts), (AUDIO, losses.audio_parts)):
        if parts is not None:
            results |= {prefix + name: values for name, values in parts._asdict().items()}
    return results if losses.crepa is None else results | losses.crepa._asdict()


def _inputs(batch: TrainBatch, contexts: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Everything that differs from batch to batch, by name; a graph reads it from fixed addresses."""
    inputs = {"video_context": contexts[0], "audio_context": contexts[1]}
    for prefix, stream in ((VIDEO, batch.video), (AUDIO, batch.audio)):
        if stream is not None:
            parts = {field.name: getattr(stream, field.name) for field in fields(stream)}
            inputs |= {prefix + name: tensor for name, tensor in parts.items() if tensor is not None}
    inputs |= {f"{KEPT}{number:03}": kept for number, kept in enumerate(batch.kept)}
    return inputs if batch.features is None else inputs | {FEATURES: batch.features}


def _stream(inputs: Mapping[str, Tensor], prefix: str) -> NoisyStream | None:
    parts = {name.removeprefix(prefix): tensor for name, tensor in inputs.items() if name.startswith(prefix)}
    return NoisyStream(**parts) if parts else None


def _parts(results: Mapping[str, Tensor], prefix: str) -> ReflexLosses | None:
    parts = {name.removeprefix(prefix): values for name, values in results.items() if name.startswith(prefix)}
    return ReflexLosses(**parts) if parts else None


CREPA = "crepa"
"""The group of its projector, beside those of the streams."""


class JointNorms(NamedTuple):
    """Gradient norms where they were computed, perhaps still to come."""

    names: tuple[str, ...]
    values: torch.Tensor
    """[len(names)], float32."""


def grad_norms(parameters: Mapping[str, torch.nn.Parameter]) -> JointNorms:
    """Gradient norm of each stream's adapters (`video`, `audio`, `cross`), joint of `all` of these, and of `crepa`'s
    projector, which is no part of what is trained for and has nothing to do with how far that may go in a step."""
    groups: dict[str, list[torch.Tensor]] = {}
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            groups.setdefault(_group(name), []).append(parameter.grad)
    norms = {
        group: torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(found, 2, torch.float32))))
        for group, found in groups.items()
    }
    adapters = [norm for group, norm in norms.items() if group != CREPA]
    if not adapters:  # sound alone is trained, and the step has none
        adapters = [torch.zeros((), device=next(iter(parameters.values())).device)]
    return JointNorms(("all", *norms), torch.stack([torch.linalg.vector_norm(torch.stack(adapters)), *norms.values()]))


def _group(name: str) -> str:
    return CREPA if name.startswith(PREFIX) else stream_of(name)


def drop_sound_gradients(parameters: Mapping[str, torch.nn.Parameter]) -> None:
    """Drop what a step without sound left on the adapters of sound, and of the attention between the streams.

    Run eagerly they got nothing; a compiled block gives zeros, which are no gradient either, but would let the
    optimizer decay the weights and go on with its momentum.
    """
    for name, parameter in parameters.items():
        if _group(name) in ("audio", "cross"):
            parameter.grad = None


def update(
    optimizer: Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    joint: JointNorms,
    *,
    learning_rate: float,
    max_grad_norm: float,
    clip_ids: Sequence[str],
    share: float = 1.0,
) -> dict[str, float]:
    """Clip the gradients, take the optimizer step, drop the gradients. Gives the norms before clipping.

    The adapters are clipped by their joint norm, CREPA's projector by its own. `share`: how many clips the step has, of
    those of a full one. What is left of a step's mean after clipping counts so much, so that every clip weighs alike,
    whatever batch it falls into.

    Raises:
        DataError: a gradient is not finite; names the clips of the step. No weight has been changed.
    """
    norms = dict(zip(joint.names, joint.values.tolist(), strict=True))
    if not all(math.isfinite(norm) for norm in norms.values()):
        raise DataError(
            f"gradients are not finite ({norms}) after clips {list(clip_ids)}; the step was not taken. Look at these "
            f"clips, or lower learning_rate; the last checkpoint is whole."
        )
    for part, group in ((False, "all"), (True, CREPA)):
        gradients = [p.grad for name, p in parameters.items() if name.startswith(PREFIX) == part]
        if found := [gradient for gradient in gradients if gradient is not None]:
            shrink = (max_grad_norm / (joint.values[joint.names.index(group)] + 1e-6)).clamp(max=1.0) * share
            for piece in pieces(found):
                piece.mul_(shrink)
    optimizer.step(learning_rate)
    for parameter in parameters.values():
        parameter.grad = None
    return dict(sorted(norms.items()))


class StepLosses(NamedTuple):
    """What the batches of an optimizer step gave."""

    losses: list[SampleLoss]
    """Of the whole step, in the order of its batches."""
    num_tokens: int
    crepa: dict[str, float]
    """As in `StepRecord`."""


class Rates(NamedTuple):
    """What depends on an optimizer step's number alone."""

    learning_rate: float
    crepa_weight: float = 0.0
    rollout_share: float = 0.0
    """Of its visits."""


def step_visits(plan: EpochPlan, step: int, accumulation: int) -> list[tuple[Visit, ...]]:
    """The batches of optimizer step `step`; steps run on over the end of an epoch."""
    return [plan.batch(step * accumulation + i) for i in range(accumulation)]


def backward_step(
    objective: Objective,
    batches: Sequence[Sequence[Visit]],
    *,
    ranks: Ranks = ALONE,
    load: Load | None = None,
    backward: Backward | None = None,
    crepa_weight: float = 0.0,
    rollout_share: float = 0.0,
) -> StepLosses:
    """Leave the gradients of this rank's share of an optimizer step on the parameters.

    Means are taken over all clips of the step, so cutting it into other batches, or among other ranks, gives the same
    gradients once those of the ranks are added up. That `rollout_share` of its visits is rolled out, all by the weights
    that the step begins with. The GPU is waited for once, after the last backward.

    Raises:
        DataError: a loss is not finite; names the clips. No weight has been changed.
        TransientError: another rank is gone.
    """
    done = _backwards(objective, batches, ranks, load, backward, Rates(0.0, crepa_weight, rollout_share))
    return _losses(batches, done, ranks, crepa_weight)


def _backwards(
    objective: Objective,
    batches: Sequence[Sequence[Visit]],
    ranks: Ranks,
    load: Load | None,
    backward: Backward | None,
    rates: Rates,
) -> list[Done]:
    """Forward and backward of this rank's batches."""
    load, backward = load or objective.train_batch, backward or EagerBackward(objective)
    num_video = sum(len(batch) for batch in batches)  # every clip carries a video loss
    num_audio = 0
    if objective.audio_channels is not None:
        num_audio = sum(carries_audio_loss(visit, objective.settings) for batch in batches for visit in batch)
    together = objective.sharded and any_rolls(objective, batches, rates.rollout_share)
    done: list[Done] = []
    for number in ranks.share(range(len(batches))):
        batch = load(batches[number])
        rolled, *travel = roll_out(objective, batch, rates.rollout_share, in_any_case=together)
        done.append(Done(number, batch, backward(rolled, num_video, num_audio, rates.crepa_weight), *travel))
    return done


def _losses(batches: Sequence[Sequence[Visit]], done: Sequence[Done], ranks: Ranks, crepa_weight: float) -> StepLosses:
    """What the batches gave, on every rank; the GPU is waited for."""
    losses, num_tokens = step_losses(batches, done, ranks)
    crepa = step_alignment(len(batches), done, ranks, crepa_weight) if crepa_weight else {}
    return StepLosses(losses, num_tokens, crepa)


def take_step(
    objective: Objective,
    batches: Sequence[Sequence[Visit]],
    optimizer: Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    rates: Rates,
    *,
    ranks: Ranks = ALONE,
    load: Load | None = None,
    backward: Backward | None = None,
) -> tuple[StepRecord, int]:
    """One whole optimizer step; what it gave, and how many tokens it saw. Every rank ends with the same weights.

    Raises:
        DataError: a loss or gradient is not finite; names the clips. No weight has been changed.
        TransientError: another rank is gone.
    """
    done = _backwards(objective, batches, ranks, load, backward, rates)
    if not any(objective.hears(batch) for batch in batches):
        drop_sound_gradients(parameters)
    ranks.add_gradients(parameters)
    joint = grad_norms(parameters)
    seen, num_tokens, crepa = _losses(batches, done, ranks, rates.crepa_weight)
    norms = update(
        optimizer,
        parameters,
        joint,
        learning_rate=rates.learning_rate,
        max_grad_norm=objective.settings.max_grad_norm,
        clip_ids=[visit.sample.clip_id for batch in batches for visit in batch],
        share=sum(len(batch) for batch in batches) / (objective.settings.batch_size * len(batches)),
    )
    return StepRecord(rates.learning_rate, norms, tuple(seen), crepa), num_tokens
