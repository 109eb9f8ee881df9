"""The tiny checkpoint's autoencoders."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_audio_vae, load_video_vae, load_vocoder
from ltx_core.checkpoint.model import Model
from tests.unit.autoencoder.video_vaes import build

GOLDEN = Path(__file__).parents[2] / "golden"
FULL = {"device": "cpu", "dtype": torch.float32}


@pytest.fixture(scope="session")
def checkpoint() -> Model:
    return open_combined(GOLDEN / "2.3" / "checkpoint.safetensors")


@pytest.fixture(scope="session")
def video_vae(checkpoint: Model) -> Any:
    return load_video_vae(checkpoint, **FULL)


@pytest.fixture(scope="session")
def audio_vae(checkpoint: Model) -> Any:
    return load_audio_vae(checkpoint, **FULL)


@pytest.fixture(scope="session", params=["2.0", "2.3"])
def vocoder(request: pytest.FixtureRequest) -> Any:
    path = GOLDEN / request.param / "checkpoint.safetensors"
    return load_vocoder(open_combined(path, components=("vocoder",)), **FULL)


@pytest.fixture(scope="session", params=["2.0", "2.3"])
def each_vae(request: pytest.FixtureRequest) -> Any:
    """A miniature of each generation. Do not change it."""
    return build(request.param)
