"""A tiny Gemma 3 with the checkpoint it fits."""

from pathlib import Path

import pytest
import torch

from ltx_core.checkpoint.combined import Checkpoint, open_checkpoint
from ltx_core.text.gemma import TextEncoder, load_gemma

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(params=["2.0", "2.3"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    components = ("connectors", "text_projection")
    return open_checkpoint(GOLDEN / request.param / "checkpoint.safetensors", components=components)


@pytest.fixture
def folder() -> Path:
    return GOLDEN / "2.3" / "text_encoder"


@pytest.fixture(scope="session")
def encoder() -> TextEncoder:
    return load_gemma(GOLDEN / "2.3" / "text_encoder", device="cpu", dtype=torch.float32)
