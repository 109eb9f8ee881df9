"""The batch that 8 bits are compared with full precision on: a clip of the run, without training methods and without
what makes a step random."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ltx_core.training.condition_settings import ConditionSettings
from ltx_core.training.config import TrainSettings
from ltx_core.training.context_cache import ContextCache
from ltx_core.training.draws import carries_video_loss
from ltx_core.training.modalities import as_heard
from ltx_core.training.objective import Objective, loss_weights, total_loss
from ltx_core.training.order import EpochPlan, learnable
from ltx_core.training.samples import SampleSource

PLAIN: dict[str, Any] = {
    "batch_size": 1,
    "caption_dropout": 0.0,
    **dict.fromkeys(ConditionSettings.probabilities(), 0.0),
}


@dataclass(frozen=True)
class ComparisonClip:
    """One clip, and its loss by a transformer."""

    clip_id: str
    loss: Callable[[Any], torch.Tensor]
    """Of the adapter-free transformer that it is given; the graph is kept for a backward."""


def comparison_clip(settings: TrainSettings, source: SampleSource, connectors: Any, *, device: str) -> ComparisonClip:
    """The first sample of a run whose clip has audio to learn, if any has, at the noise level that the run draws."""
    plain = as_heard(settings, source.samples)[0].model_copy(update=PLAIN)
    clips = [clip for clip in learnable(source.samples, plain) if clip.split == "train"]
    heard = [clip for clip in clips if clip.has_audio_loss]
    plan = EpochPlan(tuple(heard or clips), 1, settings.seed)
    occurrences = plan.batch(0)
    num_video = int(carries_video_loss(occurrences[0], plain))
    contexts = ContextCache(source, connectors, None)

    def loss(transformer: Any) -> torch.Tensor:
        objective = Objective(transformer, source, contexts, plain, device)
        losses = objective.losses(objective.train_batch(occurrences))
        return total_loss(losses, loss_weights(num_video, int(bool(heard)), plain.audio_loss_weight))

    return ComparisonClip(occurrences[0].sample.clip_id, loss)
