"""Compiled blocks where no gradient is wanted: which functions they run, and what they give."""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock
from torch._dynamo.utils import counters

from ltx_core.denoiser.blocks import runner_of
from ltx_core.denoiser.forward import denoise
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.runner import as_in_training
from tests.unit.engine.conftest import NUM_BLOCKS, build, loss_and_gradients, streams

pytestmark = pytest.mark.whole


@pytest.fixture(autouse=True)
def traced_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks are traced and cut into graphs as they are to be compiled, and no code is written for them."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def num_graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def predicted(transformer: torch.nn.Module, **options: object) -> torch.Tensor:
    with torch.no_grad():
        video, audio = denoise(transformer, *streams(), **options)  # type: ignore[arg-type]  # of any name
    assert video is not None
    assert audio is not None
    return torch.cat([video.flatten(), audio.flatten()])


def counted(transformer: torch.nn.Module, **options: object) -> tuple[torch.Tensor, int]:
    """The prediction, and how many blocks Python ran for it: a compiled one is no frame of its own."""
    code, ran = LTX2VideoTransformerBlock.forward.__code__, []

    def look(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code is code:
            ran.append(frame)

    sys.setprofile(look)
    try:
        found = predicted(transformer, **options)
    finally:
        sys.setprofile(None)
    return found, len(ran)


def test_forwards_as_in_training_compile_nothing_more() -> None:
    """Blocks with activation checkpointing and without; by default such forwards run uncompiled."""
    options = EngineOptions(fused=True, compiled=True, activation_checkpointing=0.4)
    transformer, plain = build(options), build(EngineOptions())
    loss_and_gradients(transformer)
    compiled = num_graphs()
    assert compiled == 1
    with as_in_training(transformer):
        found, uncompiled = counted(transformer)
    assert uncompiled == 0
    assert not found.requires_grad
    assert torch.allclose(found, predicted(plain), atol=1e-5)
    assert num_graphs() == compiled
    assert runner_of(transformer).forwards == "eager"  # type: ignore[attr-defined]  # of the policies' runner
    assert counted(transformer)[1] == NUM_BLOCKS
    assert num_graphs() == compiled


def test_sampling_compiles_its_plain_passes() -> None:
    transformer = build(EngineOptions(fused=True, compiled=True, forward_only=True))
    plain = build(EngineOptions())
    predicted(transformer)
    found, uncompiled = counted(transformer)
    assert uncompiled == 0
    assert torch.allclose(found, predicted(plain), atol=1e-5)
    found, uncompiled = counted(transformer, isolate=True)
    assert uncompiled == NUM_BLOCKS
    assert torch.allclose(found, predicted(plain, isolate=True), atol=1e-5)
    assert num_graphs() == 1, "streams that do not see each other run uncompiled"
