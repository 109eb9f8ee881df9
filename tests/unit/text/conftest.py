"""A tiny Gemma 3 with the checkpoint it fits."""

from pathlib import Path

import pytest
import torch

from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.text.gemma import TextEncoder, load_gemma

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(params=["2.0", "2.3"])
def checkpoint(request: pytest.FixtureRequest) -> Model:
    components = ("connectors", "text_projection")
    return open_combined(GOLDEN / request.param / "checkpoint.safetensors", components=components)


@pytest.fixture
def folder() -> Path:
    return GOLDEN / "2.3" / "text_encoder"


@pytest.fixture(scope="session")
def encoder() -> TextEncoder:
    return load_gemma(open_text_encoder(GOLDEN / "2.3" / "text_encoder"), device="cpu", dtype=torch.float32)
