"""Losses and gradients of one batch: step by step, or replayed as a CUDA graph."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Protocol

import torch
from torch import Tensor

from ltx_core.engine.assemble import weight_stream
from ltx_core.engine.graphs import StepGraphs
from ltx_core.flow_matching.reflexflow import ReflexLosses
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.crepa import Alignment
from ltx_core.training.objective import BatchLosses, Objective
from ltx_core.training.total import loss_shares, total_loss

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
