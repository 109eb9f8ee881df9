"""A whole tiny checkpoint in Lightricks' layout, and changed copies of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parents[2] / "golden" / "2.3"

Change = Callable[[dict[str, torch.Tensor], dict[str, str]], None]


@pytest.fixture
def whole() -> Path:
    return GOLDEN / "checkpoint.safetensors"


@pytest.fixture
def gemma() -> Path:
    return GOLDEN / "text_encoder"


@pytest.fixture
def changed(whole: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """Write a copy of the checkpoint after `change` had its tensors and metadata in hand."""

    def write(change: Change) -> Path:
        with safe_open(whole, "pt") as file:
            metadata = dict(file.metadata())
        tensors = load_file(whole)
        change(tensors, metadata)
        path = tmp_path / "renamed-2.5.safetensors"
        save_file(tensors, path, metadata=metadata)
        return path

    return write
