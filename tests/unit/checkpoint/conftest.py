"""A whole tiny checkpoint in Lightricks' layout, changed copies of it, and the same model in other layouts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_core.io.digest import DigestMemo
from tests.layouts import GOLDEN, write_diffusers, write_pack

Change = Callable[[dict[str, torch.Tensor], dict[str, str]], None]


@pytest.fixture
def whole() -> Path:
    return GOLDEN / "2.3" / "checkpoint.safetensors"


@pytest.fixture
def gemma() -> Path:
    return GOLDEN / "2.3" / "text_encoder"


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


@pytest.fixture
def memo(tmp_path: Path) -> DigestMemo:
    return DigestMemo(tmp_path / "digests.parquet")


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layouts")
    write_pack(root / "pack")
    write_diffusers(root / "diffusers")
    return root


@pytest.fixture
def pack(layouts: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(layouts / "pack", tmp_path / "pack"))


@pytest.fixture
def folder(layouts: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(layouts / "diffusers", tmp_path / "diffusers"))
