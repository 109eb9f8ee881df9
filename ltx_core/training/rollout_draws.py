"""Which visits are rolled out, and from how far: functions of seed, visit, clip and step alone."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ltx_core.flow_matching.random import visit_generator
from ltx_core.flow_matching.rollout import source_sigma
from ltx_core.training.config import TrainSettings
from ltx_core.training.order import Visit
from ltx_core.training.rollout_settings import RolloutSettings


class RolloutDraws(NamedTuple):
    """What is drawn for rollouts; on the CPU, because the host decides by it."""

    chance: Tensor
    """[B] in [0, 1), float64: a sample is rolled out where that is below the step's share."""
    video: Tensor
    """[B] noise level that its picture would start from."""
    audio: Tensor | None
    """[B] that of its sound; None if only video is trained."""

    def chosen(self, share: float) -> Tensor:
        """The samples that are rolled out: bool [B]. A larger share has those of a smaller one, and others."""
        return self.chance < share


def rollout_draws(
    visits: Sequence[Visit], video_sigma: Tensor, audio_sigma: Tensor | None, settings: TrainSettings
) -> RolloutDraws | None:
    """The draws of a batch whose noise levels, [B], are known; None where the settings have no rollouts.

    Where picture and sound share a noise level they share a way too. What is given whole, at sigma 0, stays there.
    """
    rollout = settings.rollout
    if rollout is None:
        return None
    audio_purpose = "audio" if settings.independent_sigmas else "video"
    offsets = [[_offset(v, settings.seed, name, rollout) for v in visits] for name in ("video", audio_purpose)]
    video, audio = (torch.tensor(drawn, dtype=torch.float32) for drawn in offsets)
    return RolloutDraws(
        chance=torch.tensor([rollout_chance(v, settings.seed) for v in visits], dtype=torch.float64),
        video=source_sigma(video_sigma, video),
        audio=None if audio_sigma is None else source_sigma(audio_sigma, audio),
    )


def rollout_chance(visit: Visit, seed: int) -> float:
    """In [0, 1): the visit is rolled out at steps whose share is above."""
    return _uniform(visit, seed, "rollout")


def _offset(visit: Visit, seed: int, stream: str, settings: RolloutSettings) -> float:
    u = _uniform(visit, seed, f"rollout/{stream}")
    drawn = {"uniform": u, "biased_early": u * u, "biased_late": 1 - u * u}[settings.strategy]
    return drawn * settings.max_sigma_offset


def _uniform(visit: Visit, seed: int, purpose: str) -> float:
    generator = visit_generator(seed, visit.number, visit.sample.clip_id, purpose)
    return torch.rand((), generator=generator, dtype=torch.float64).item()
