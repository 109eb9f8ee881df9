"""One optimizer step: forward and backward of its batches, the checks, the update.

A GPU is given all work up to the norms of the gradients before it is waited for: what the host does for thousands of
matrices, it does while the GPU still computes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ltx_core.distributed.ranks import ALONE, Ranks
from ltx_core.engine.assemble import block_offload
from ltx_core.engine.contiguous import pieces
from ltx_core.engine.graphs import StepGraphs
from ltx_core.errors import DataError
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.draws import carries_audio_loss, carries_video_loss
from ltx_core.training.methods.method import BatchLosses, Step
from ltx_core.training.methods.registry import STREAMS, group_of, method_of
from ltx_core.training.metrics import StepRecord
from ltx_core.training.objective import AUDIO_WEIGHT, VIDEO_WEIGHT, Objective, loss_weights, total_loss
from ltx_core.training.optimizer import Optimizer
from ltx_core.training.order import EpochPlan, SampleOccurrence
from ltx_core.training.prefetch import Load
from ltx_core.training.step_losses import Done, StepLosses, gather_step_losses

VIDEO, AUDIO, TERM, MEASURE = "video.", "audio.", "term.", "measure."


class Backward(Protocol):
    """Adds the gradients of a batch's part of a step to those of the parameters."""

    def __call__(self, batch: TrainBatch, weights: Mapping[str, float]) -> BatchLosses:
        """Losses by sample, detached; `weights` are those of the step, as `loss_weights` gives them."""
        ...


class EagerBackward:
    """Forward and backward as PyTorch runs them."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def __call__(self, batch: TrainBatch, weights: Mapping[str, float]) -> BatchLosses:
        """As the protocol says."""
        losses = self._objective.losses(batch)
        total_loss(losses, weights).backward()
        return losses.detach()


class GraphedBackward:
    """A CUDA graph for each form of batch. Contexts of captions are looked up outside, being a cache."""

    def __init__(self, objective: Objective, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._objective = objective
        self._graphs = StepGraphs(self._work, parameters, block_offload(objective.transformer))

    def __call__(self, batch: TrainBatch, weights: Mapping[str, float]) -> BatchLosses:
        """As the protocol says."""
        batch = batch.to(self._objective.device)
        contexts = self._objective.contexts(batch.captions, self._objective.device)
        absent = {AUDIO_WEIGHT} if batch.audio is None else set()
        absent |= set() if batch.video.noisy.shape[1] else {VIDEO_WEIGHT}
        own = {  # or such batches would have two forms, by whether others of their step have the stream
            name: torch.tensor(weight, device=self._objective.device)
            for name, weight in weights.items()
            if name not in absent
        }
        found = {name: tensor.clone() for name, tensor in self._graphs(_inputs(batch, contexts) | own).items()}
        return BatchLosses(found["video"], found.get("audio"), _under(TERM, found), _under(MEASURE, found))

    def _work(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        video, audio = _stream(inputs, VIDEO), _stream(inputs, AUDIO)
        assert video is not None  # every batch has video
        prefixes = tuple(f"{method.name}." for method in self._objective.methods)
        extras = {name: tensor for name, tensor in inputs.items() if name.startswith(prefixes)}
        losses = self._objective.losses_of(video, audio, (inputs["video_context"], inputs["audio_context"]), extras)
        total_loss(losses, inputs).backward()
        return _results(losses.detach())


def _results(losses: BatchLosses) -> dict[str, Tensor]:
    """Losses by name."""
    results = {"video": losses.video}
    if losses.audio is not None:
        results["audio"] = losses.audio
    for prefix, tensors in ((TERM, losses.terms), (MEASURE, losses.measures)):
        results |= {prefix + name: tensor for name, tensor in tensors.items()}
    return results


def _inputs(batch: TrainBatch, contexts: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Everything that differs from batch to batch, by name; a graph reads it from fixed addresses."""
    inputs = {"video_context": contexts[0], "audio_context": contexts[1], **batch.extras}
    for prefix, stream in ((VIDEO, batch.video), (AUDIO, batch.audio)):
        if stream is not None:
            parts = {field.name: getattr(stream, field.name) for field in fields(stream)}
            inputs |= {prefix + name: tensor for name, tensor in parts.items() if tensor is not None}
    return inputs


def _stream(inputs: Mapping[str, Tensor], prefix: str) -> NoisyStream | None:
    parts = _under(prefix, inputs)
    return NoisyStream(**parts) if parts else None


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with the prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class JointNorms(NamedTuple):
    """Gradient norms where they were computed, perhaps still to come."""

    names: tuple[str, ...]
    values: torch.Tensor
    """[len(names)], float32."""


def grad_norms(parameters: Mapping[str, torch.nn.Parameter]) -> JointNorms:
    """Gradient norm of each stream's adapters (`video`, `audio`, `cross`), joint of `all` of these, and by name of
    methods' own parameters, which are no part of what is trained for and have nothing to do with how far that may go in
    a step."""
    groups: dict[str, list[torch.Tensor]] = {}
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            groups.setdefault(group_of(name), []).append(parameter.grad)
    norms = {
        group: torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(found, 2, torch.float32))))
        for group, found in groups.items()
    }
    adapters = [norm for group, norm in norms.items() if group in STREAMS]
    if not adapters:  # audio alone is trained, and the step has none
        adapters = [torch.zeros((), device=next(iter(parameters.values())).device)]
    return JointNorms(("all", *norms), torch.stack([torch.linalg.vector_norm(torch.stack(adapters)), *norms.values()]))


def drop_gradients(parameters: Mapping[str, torch.nn.Parameter], absent: str) -> None:
    """Drop what a step without the `absent` stream left on its adapters, and on the attention between the streams.

    Run eagerly they got nothing; a compiled block gives zeros, which are no gradient either, but would let the
    optimizer decay the weights and go on with its momentum.
    """
    for name, parameter in parameters.items():
        if group_of(name) in (absent, "cross"):
            parameter.grad = None


def update(
    optimizer: Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    joint: JointNorms,
    *,
    step: int,
    max_grad_norm: float,
    clip_ids: Sequence[str],
    fraction: float = 1.0,
) -> dict[str, float]:
    """Clip the gradients, take the optimizer step, drop the gradients. Gives the norms before clipping.

    The adapters are clipped by their joint norm, methods' own parameters by theirs. `fraction`: the clips of the step
    as a fraction of those of a full one. What is left of a step's mean after clipping counts so much, so that every
    clip weighs alike, whatever batch it falls into.

    Raises:
        DataError: a gradient is not finite; names the clips of the step. No weight has been changed.
    """
    norms = dict(zip(joint.names, joint.values.tolist(), strict=True))
    if not all(math.isfinite(norm) for norm in norms.values()):
        raise DataError(
            f"gradients are not finite ({norms}) after clips {list(clip_ids)}; the step was not taken. Look at these "
            f"clips, or lower learning_rate; the last checkpoint is whole."
        )
    clipped: dict[str, list[Tensor]] = {}
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            clipped.setdefault(method_of(name) or "all", []).append(parameter.grad)
    for group, gradients in clipped.items():
        shrink = (max_grad_norm / (joint.values[joint.names.index(group)] + 1e-6)).clamp(max=1.0) * fraction
        for piece in pieces(gradients):
            piece.mul_(shrink)
    optimizer.step(step)
    for parameter in parameters.values():
        parameter.grad = None
    return dict(sorted(norms.items()))


class OptimizerStep(NamedTuple):
    """A step of a run: its number, and what depends on it and on the values that methods keep of the steps before."""

    number: int
    """Counted from 0."""
    strengths: Mapping[str, float] = {}
    """Strength by method; one that is absent has its highest."""
    audio_weight: float | None = None
    """Of the audio's loss; None: that of the settings."""


def step_batches(plan: EpochPlan, step: int, accumulation: int) -> list[tuple[SampleOccurrence, ...]]:
    """The batches of optimizer step `step`; steps run on over the end of an epoch."""
    return [plan.batch(step * accumulation + i) for i in range(accumulation)]


def backward_step(
    objective: Objective,
    batches: Sequence[Sequence[SampleOccurrence]],
    *,
    ranks: Ranks = ALONE,
    load: Load | None = None,
    backward: Backward | None = None,
    strengths: Mapping[str, float] | None = None,
) -> StepLosses:
    """Leave the gradients of this rank's part of an optimizer step on the parameters.

    Means are taken over all clips of the step, so cutting it into other batches, or among other ranks, gives the same
    gradients once those of the ranks are added up. Methods have their `strengths`, or their highest ones. The GPU is
    waited for once, after the last backward.

    Raises:
        DataError: a loss is not finite; names the clips. No weight has been changed.
        TransientError: another rank is gone.
    """
    strengths = _complete(objective, strengths or {}, batches)
    done = _backwards(objective, batches, ranks, load, backward, OptimizerStep(0, strengths))
    return gather_step_losses(batches, done, objective.methods, strengths, ranks)


def _complete(
    objective: Objective, strengths: Mapping[str, float], batches: Sequence[Sequence[SampleOccurrence]]
) -> dict[str, float]:
    """Strengths of all methods; terms beside the video's loss have none in a step that has no such loss."""
    num_video, _ = _num_losses(objective, batches)
    return {
        method.name: strengths.get(method.name, method.highest_strength) if num_video or not method.adds_term else 0.0
        for method in objective.methods
    }


def _backwards(
    objective: Objective,
    batches: Sequence[Sequence[SampleOccurrence]],
    ranks: Ranks,
    load: Load | None,
    backward: Backward | None,
    step: OptimizerStep,
) -> list[Done]:
    """Forward and backward of this rank's batches."""
    load, backward = load or objective.train_batch, backward or EagerBackward(objective)
    num_video, num_audio = _num_losses(objective, batches)
    term_weights = {m.name: step.strengths[m.name] for m in objective.methods if m.adds_term and step.strengths[m.name]}
    audio_weight = objective.settings.audio_loss_weight if step.audio_weight is None else step.audio_weight
    weights = loss_weights(num_video, num_audio, audio_weight, term_weights)
    done: list[Done] = []
    for number in ranks.part(range(len(batches))):
        batch = ready = load(batches[number])
        for method in objective.methods:
            ready = method.before_forward(ready, Step(step.strengths[method.name], batches), objective)
        losses = backward(ready, weights)
        done.append(Done(number, batch, losses._replace(measures={**ready.measures, **losses.measures})))
    return done


def _num_losses(objective: Objective, batches: Sequence[Sequence[SampleOccurrence]]) -> tuple[int, int]:
    """The samples of a step that carry a loss of their video, and of their audio."""
    samples, settings = [occurrence for batch in batches for occurrence in batch], objective.settings
    num_video = sum(carries_video_loss(occurrence, settings) for occurrence in samples)
    if objective.audio_channels is None:
        return num_video, 0
    return num_video, sum(carries_audio_loss(occurrence, settings) for occurrence in samples)


def take_step(
    objective: Objective,
    batches: Sequence[Sequence[SampleOccurrence]],
    optimizer: Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    step: OptimizerStep,
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
    of_methods = _complete(objective, step.strengths, batches)
    done = _backwards(objective, batches, ranks, load, backward, step._replace(strengths=of_methods))
    for absent, runs in (("audio", objective.hears), ("video", objective.sees)):
        if not any(runs(batch) for batch in batches):
            drop_gradients(parameters, absent)
    ranks.add_gradients(parameters)
    joint = grad_norms(parameters)
    seen, num_tokens, figures = gather_step_losses(batches, done, objective.methods, of_methods, ranks)
    norms = update(
        optimizer,
        parameters,
        joint,
        step=step.number,
        max_grad_norm=objective.settings.max_grad_norm,
        clip_ids=[occurrence.sample.clip_id for batch in batches for occurrence in batch],
        fraction=sum(len(batch) for batch in batches) / (objective.settings.batch_size * len(batches)),
    )
    rate = objective.settings.learning_rate_at(step.number)
    weight = None if objective.settings.audio_loss_ratio is None else step.audio_weight
    return StepRecord(rate, norms, tuple(seen), figures, optimizer.figures(), weight), num_tokens
