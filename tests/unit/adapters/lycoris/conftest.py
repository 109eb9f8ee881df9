"""A tiny transformer of the real class with a LyCORIS adapter that looks trained."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import linear_layers
from ltx_core.adapters.lycoris_files import TrainedLycoris
from ltx_core.adapters.lycoris_layout import lycoris_layers
from ltx_core.adapters.lycoris_settings import LycorisSettings
from tests.unit.adapters.lora.conftest import build, run_forward

__all__ = ["build", "run_forward"]
KINDS: dict[str, dict[str, Any]] = {
    "LoCon": {"algo": "locon"},
    "LoHa": {"algo": "loha"},
    "LoKr": {"algo": "lokr", "linear_dim": 1, "factor": 4},
    "LoKr, both cut": {"algo": "lokr", "linear_dim": 1, "decompose_both": True},
    "LoKr, whole": {"algo": "lokr", "linear_dim": 10000, "factor": 4},
    "DoRA": {"algo": "lora", "dora_wd": True},
    "DoRA of LoHa": {"algo": "loha", "dora_wd": True},
    "DoRA of LoKr": {"algo": "lokr", "linear_dim": 1, "factor": 4, "dora_wd": True},
}
FIRST = ("LoCon", "LoHa", "LoKr, both cut", "DoRA of LoKr")
every_kind = pytest.mark.parametrize(
    "options",
    [pytest.param(kind, id=name, marks=() if name in FIRST else pytest.mark.extra) for name, kind in KINDS.items()],
)
"""Each algorithm, cut and whole, and one of them with lengths of rows; the others in the longest tests."""


def put_on(transformer: Any, options: dict[str, Any], targets: str | tuple[str, ...] = "audio+video") -> TrainedLycoris:
    """With an alpha of half the rank."""
    rank = options.get("linear_dim", 4)
    settings = LycorisSettings.model_validate({"linear_dim": rank, "linear_alpha": rank / 2} | options)
    layers = lycoris_layers(linear_layers(transformer), settings, targets)
    return TrainedLycoris(transformer, layers, seed=0, multiplier=settings.multiplier)


def pretend_training(adapter: TrainedLycoris) -> None:
    """Values that bfloat16 holds for every factor, and other lengths of rows."""
    generator = torch.Generator().manual_seed(9)
    for name, parameter in adapter.parameters().items():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("dora_scale"):
            parameter.data *= 1 + 0.1 * noise
        elif not parameter.any():
            parameter.data = (0.2 * noise).bfloat16().float()
        else:
            parameter.data = parameter.data.bfloat16().float()


@pytest.fixture
def trained(build: Callable[..., Any]) -> Callable[..., TrainedLycoris]:
    """`trained(options)`: an adapter on a transformer of its own."""

    def make(options: dict[str, Any]) -> TrainedLycoris:
        adapter = put_on(build(), options)
        pretend_training(adapter)
        return adapter

    return make
