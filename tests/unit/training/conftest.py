"""Clips held in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from ltx_core.training.samples import ClipInfo

CHANNELS, AUDIO_CHANNELS = 4, 8
FRAME_RATE = 24.0
NUM_AUDIO = 9
"""Audio latent frames of 9 pixel frames at 24 a second."""


@dataclass
class MemorySource:
    """A sample source without a disk; clips named `silent...` have silence, which is not learnt, and `mute...` none."""

    samples: list[ClipInfo]
    changed: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def load(self, clip_id: str) -> dict[str, Tensor]:
        if clip_id in self.changed:
            return self.changed[clip_id]
        generator = torch.Generator().manual_seed(sum(clip_id.encode()))
        tensors = {"video": torch.randn(CHANNELS, 2, 1, 2, generator=generator)}
        if not clip_id.startswith("mute"):
            sound = torch.randn(NUM_AUDIO, AUDIO_CHANNELS, generator=generator)
            tensors["audio"] = sound * (not clip_id.startswith("silent"))
        return tensors

    def text(self, caption: str) -> dict[str, Tensor]:
        return {"features": torch.zeros(1 + len(caption), 4)}


@pytest.fixture
def clip() -> Callable[..., ClipInfo]:
    def make(clip_id: str, **changes: object) -> ClipInfo:
        fields: dict[str, object] = {
            "bucket": "64x32@9",
            "split": "train",
            "repeats": 1,
            "frame_rate": FRAME_RATE,
            "has_audio_loss": not clip_id.startswith(("silent", "mute")),
            "caption": f"caption of {clip_id}",
            "has_sound": not clip_id.startswith("mute"),
        }
        return ClipInfo(clip_id=clip_id, **{**fields, **changes})  # type: ignore[arg-type]  # changes are any field's

    return make


@pytest.fixture
def source_of() -> Callable[[list[ClipInfo]], MemorySource]:
    return MemorySource
