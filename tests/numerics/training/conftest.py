"""A tiny transformer and tiny connectors of the real classes, clips in memory, and jobs that train on them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor

from ltx_core.shapes import PixelShape, audio_latent_frames
from ltx_core.training.config import TrainSettings
from ltx_core.training.run import TrainJob
from ltx_core.training.samples import ClipInfo
from tests import tiny_transformer
from tests.tiny_transformer import build

FEATURES = 12
"""Width of frames' features."""
CHANNELS, AUDIO_CHANNELS, TEXT, AUDIO_TEXT, REGISTERS = 8, 16, 32, 16, 8
FRAME_RATE = 24.0
SMALL, LARGE, ALONE = "64x32@9", "64x64@9", "0x0@9"
SIZES = {SMALL: PixelShape(9, 32, 64), LARGE: PixelShape(9, 64, 64), ALONE: PixelShape(9, 0, 0)}


def build_transformer(dtype: torch.dtype = torch.float32, **sizes: int) -> LTX2VideoTransformer3DModel:
    """A tiny LTX-2.5: gates, prompt modulation and keyframe marks, the same at every call."""
    made = build("2.5", channels=CHANNELS, audio_channels=AUDIO_CHANNELS, width=TEXT, audio_width=AUDIO_TEXT, **sizes)
    return made.to(dtype)


def build_connectors() -> torch.nn.ModuleDict:
    whole = tiny_transformer.build_connectors(TEXT, AUDIO_TEXT, REGISTERS)
    parts = {name: getattr(whole, name) for name in ("video_connector", "audio_connector")}
    return torch.nn.ModuleDict(parts).eval().requires_grad_(False)


@dataclass
class MemorySource:
    """Clips that share a direction, so that a LoRA has something to learn; `silent...` clips have silence, which is
    not learnt, and `mute...` clips no sound."""

    samples: list[ClipInfo]
    video_scale: dict[str, float] = field(default_factory=dict)
    """Factor on the latents of a clip, to break one."""
    texts: dict[str, Tensor] | None = None
    on_load: Callable[[str], None] = lambda clip_id: None
    asked: list[str] = field(default_factory=list)

    def load(self, clip_id: str) -> dict[str, Tensor]:
        self.on_load(clip_id)
        (sample,) = (s for s in self.samples if s.clip_id == clip_id)
        generator = torch.Generator().manual_seed(sum(clip_id.encode()))
        size = SIZES[sample.bucket]
        video = torch.randn(CHANNELS, *size.latent(), generator=generator) * 0.1
        video += torch.linspace(-2, 2, CHANNELS)[:, None, None, None]
        tensors = {"video": video * self.video_scale.get(clip_id, 1.0)}
        if not clip_id.startswith("mute"):
            sound = torch.randn(audio_latent_frames(size.frames / FRAME_RATE), AUDIO_CHANNELS, generator=generator)
            sound = sound * 0.1 + torch.linspace(2, -2, AUDIO_CHANNELS)
            tensors["audio"] = sound * (not clip_id.startswith("silent"))
        return tensors

    def text(self, caption: str) -> dict[str, Tensor]:
        self.asked.append(caption)
        generator = torch.Generator().manual_seed(len(caption))
        return {
            "video_features": torch.randn(3, TEXT, generator=generator).bfloat16(),
            "audio_features": torch.randn(3, AUDIO_TEXT, generator=generator).bfloat16(),
        }


class WithFeatures:
    """Another source's clips with features of their frames, as the store gives them: of trained clips alone."""

    def __init__(self, source: Any) -> None:
        self.source, self.samples, self.text = source, source.samples, source.text

    def load(self, clip_id: str) -> dict[str, torch.Tensor]:
        loaded: dict[str, torch.Tensor] = self.source.load(clip_id)
        if "held" in clip_id:
            return loaded
        grid, channels = loaded["video"].movedim(0, -1), loaded["video"].shape[0]
        mixed = grid @ torch.randn(channels, FEATURES, generator=torch.Generator().manual_seed(5))
        return {**loaded, "features": mixed.half()}


def make_clip(clip_id: str, bucket: str = SMALL, split: Any = "train") -> ClipInfo:
    learnt = not clip_id.startswith(("silent", "mute"))
    has_sound = not clip_id.startswith("mute")
    return ClipInfo(clip_id, bucket, split, 1, FRAME_RATE, learnt, f"caption {clip_id}", has_sound)


DEFAULT_CLIPS = (
    make_clip("a"),
    make_clip("b"),
    make_clip("silent"),
    make_clip("large", LARGE),
    make_clip("large2", LARGE),
    make_clip("held", split="eval"),
    make_clip("silent held", split="eval"),
)
FAST: dict[str, Any] = {
    "steps": 7,
    "learning_rate": 5e-3,
    "rank": 2,
    "batch_size": 2,
    "gradient_accumulation_steps": 2,
    "dtype": "fp32",
    "activation_checkpointing": 0.0,
    "checkpoint_interval": 3,
    "eval_interval": 4,
    "eval_sigmas": 2,
    "log_interval": 2,
    "scheduler": "cosine",
    "warmup_steps": 2,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def clip() -> Callable[..., ClipInfo]:
    return make_clip


@pytest.fixture
def source_of() -> Callable[..., MemorySource]:
    def make(clips: list[ClipInfo] | None = None, **changes: Any) -> MemorySource:
        return MemorySource(list(clips or DEFAULT_CLIPS), **changes)

    return make


@pytest.fixture
def job_of(source_of: Callable[..., MemorySource]) -> Callable[..., TrainJob]:
    """A short job in `folder`; keyword arguments change settings."""

    def make(folder: Path, source: MemorySource | None = None, **changes: Any) -> TrainJob:
        settings = TrainSettings(**{**FAST, **changes})
        dtype = torch.float32 if settings.dtype == "fp32" else torch.bfloat16
        return TrainJob(
            settings=settings,
            source=source or source_of(),
            load_transformer=lambda: build_transformer(dtype),
            load_connectors=build_connectors,
            out_dir=folder,
            device="cpu",
            provenance={"base": "tiny 2.5"},
            context_length=REGISTERS,
        )

    return make
