"""The tiny LTX-2.3 of the golden data through this package's own loaders, and two clips to train on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltx_core.adapters.lora import add_lora, lora_parameters, target_modules
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_connectors, load_transformer
from ltx_core.checkpoint.model import Model
from ltx_core.shapes import LatentShape, audio_latent_frames
from ltx_core.training.config import TrainSettings
from ltx_core.training.context_cache import ContextCache
from ltx_core.training.methods.method import Setup
from ltx_core.training.methods.registry import make_methods
from ltx_core.training.objective import Objective
from ltx_core.training.samples import ClipInfo
from tests.forwards import watched

GOLDEN = Path(__file__).parents[2] / "golden"
CHANNELS, AUDIO_CHANNELS, TEXT, AUDIO_TEXT, REGISTERS = 8, 32, 32, 16, 128
SHAPE = LatentShape(2, 1, 2)
FRAME_RATE = 24.0


def checkpoint_of(generation: str, *components: str) -> Model:
    return open_combined(GOLDEN / generation / "checkpoint.safetensors", components=components)


@cache
def transformer_of(generation: str) -> Any:
    """Shared by tests that change nothing."""
    return load_transformer(checkpoint_of(generation, "transformer"), device="cpu", dtype=torch.float32)


@dataclass
class MemorySource:
    """Clips without a disk; those named `silent...` have silence, which is not learnt."""

    samples: list[ClipInfo] = field(default_factory=list)

    def load(self, clip_id: str) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(sum(clip_id.encode()))
        tensors = {"video": torch.randn(CHANNELS, *SHAPE, generator=generator)}
        num_audio = audio_latent_frames(SHAPE.pixels().frames / FRAME_RATE)
        sound = torch.randn(num_audio, AUDIO_CHANNELS, generator=generator)
        tensors["audio"] = sound * (not clip_id.startswith("silent"))
        return tensors

    def text(self, caption: str) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(len(caption))
        return {
            "video_features": torch.randn(3, TEXT, generator=generator).bfloat16(),
            "audio_features": torch.randn(3, AUDIO_TEXT, generator=generator).bfloat16(),
        }


@pytest.fixture
def clip() -> Callable[[str], ClipInfo]:
    def make(clip_id: str) -> ClipInfo:
        return ClipInfo(clip_id, "64x32@9", "train", 1, FRAME_RATE, not clip_id.startswith("silent"), "a caption")

    return make


@pytest.fixture
def checkpoint() -> Callable[..., Model]:
    """`checkpoint(generation, *components)`"""
    return checkpoint_of


@pytest.fixture
def transformer() -> Any:
    return transformer_of("2.3")


@pytest.fixture
def objective_of(clip: Callable[[str], ClipInfo]) -> Callable[..., Objective]:
    """An objective on the named clips; keyword arguments are settings. `adapted`: layers with a LoRA, B not zero."""

    def make(*clips: str, adapted: Sequence[str] = (), **changes: Any) -> Objective:
        source = MemorySource([clip(name) for name in clips])
        connectors = load_connectors(checkpoint_of("2.3", "connectors"), device="cpu", dtype=torch.float32)
        contexts = ContextCache(source, connectors, REGISTERS)
        model = transformer_of("2.3")
        if adapted:
            model = load_transformer(checkpoint_of("2.3", "transformer"), device="cpu", dtype=torch.float32)
            add_lora(model, target_modules(model, adapted), rank=2, alpha=2, seed=0)
            for parameter in lora_parameters(model).values():
                parameter.data.fill_(0.05)
        settings = TrainSettings(**changes)
        methods = make_methods(Setup(settings, model, source, source.samples, {}, "cpu"))
        return Objective(model, source, contexts, settings, "cpu", methods)

    return make


@pytest.fixture
def seen_by() -> Callable[[Any, Callable[[], Any]], list[dict[str, Any]]]:
    """`seen_by(transformer, run)`: the arguments of each forward of the transformer while `run()` runs."""

    def watch(model: Any, run: Callable[[], Any]) -> list[dict[str, Any]]:
        with watched(model) as seen:
            run()
        return seen

    return watch
