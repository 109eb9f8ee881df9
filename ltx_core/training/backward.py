"""Losses and gradients of one batch: step by step, or replayed as a CUDA graph."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Protocol

import torch
from torch import Tensor

from ltx_core.engine.assemble import weight_stream
from ltx_core.engine.graphs import StepGraphs
from ltx_core.flow_matching.loss import mean_over_carriers
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.objective import BatchLosses, Objective

VIDEO, AUDIO, KEPT = "video.", "audio.", "kept."


class Backward(Protocol):
    """Adds the gradients of a batch's share of a step to those of the parameters."""

    def __call__(self, batch: TrainBatch, num_video: int, num_audio: int) -> BatchLosses:
        """Losses by sample, detached. The step's mean is over `num_video` and `num_audio` samples."""
        ...


class EagerBackward:
    """Forward and backward as PyTorch runs them."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def __call__(self, batch: TrainBatch, num_video: int, num_audio: int) -> BatchLosses:
        """As the protocol says."""
        losses = self._objective.losses(batch)
        video = losses.video.sum() / num_video
        audio = mean_over_carriers(losses.audio, num_audio) if losses.audio is not None else None
        weight = self._objective.settings.audio_loss_weight
        (video if audio is None else video + weight * audio).backward()
        return losses.detach()


class GraphedBackward:
    """A CUDA graph for each form of batch. Contexts of captions are looked up outside, being a cache."""

    def __init__(self, objective: Objective, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._objective = objective
        self._graphs = StepGraphs(self._work, parameters, weight_stream(objective.transformer))

    def __call__(self, batch: TrainBatch, num_video: int, num_audio: int) -> BatchLosses:
        """As the protocol says."""
        batch = batch.to(self._objective.device)
        contexts = self._objective.contexts(batch.captions, self._objective.device)
        audio_share = self._objective.settings.audio_loss_weight / num_audio if num_audio else 0.0
        shares = {"video_share": 1 / num_video, "audio_share": audio_share}
        found = self._graphs(_inputs(batch, contexts, shares))
        audio = found.get("audio")
        return BatchLosses(found["video"].clone(), None if audio is None else audio.clone())

    def _work(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        video, audio = _stream(inputs, VIDEO), _stream(inputs, AUDIO)
        assert video is not None  # every batch has pictures
        contexts = inputs["video_context"], inputs["audio_context"]
        kept = [inputs[name] for name in sorted(inputs) if name.startswith(KEPT)]
        losses = self._objective.losses_of(video, audio, contexts, kept)
        total = losses.video.sum() * inputs["video_share"]
        if losses.audio is not None:
            total = total + losses.audio.sum() * inputs["audio_share"]
        total.backward()
        results = {"video": losses.video.detach()}
        return results if losses.audio is None else results | {"audio": losses.audio.detach()}


def _inputs(batch: TrainBatch, contexts: tuple[Tensor, Tensor], shares: Mapping[str, float]) -> dict[str, Tensor]:
    """Everything that differs from batch to batch, by name; a graph reads it from fixed addresses."""
    inputs = {"video_context": contexts[0], "audio_context": contexts[1]}
    for prefix, stream in ((VIDEO, batch.video), (AUDIO, batch.audio)):
        if stream is not None:
            parts = {field.name: getattr(stream, field.name) for field in fields(stream)}
            inputs |= {prefix + name: tensor for name, tensor in parts.items() if tensor is not None}
    inputs |= {f"{KEPT}{number:03}": kept for number, kept in enumerate(batch.kept)}
    device = batch.video.noisy.device
    return inputs | {name: torch.tensor(share, device=device) for name, share in shares.items()}


def _stream(inputs: Mapping[str, Tensor], prefix: str) -> NoisyStream | None:
    parts = {name.removeprefix(prefix): tensor for name, tensor in inputs.items() if name.startswith(prefix)}
    return NoisyStream(**parts) if parts else None
