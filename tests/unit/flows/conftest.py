"""A configuration file whose weights and footage exist, as far as loading and planning look."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Write = Callable[..., Path]


@pytest.fixture
def values() -> dict[str, Any]:
    """The least that a configuration says."""
    return {
        "datasets": [{"id": "clips", "instance_data_dir": "footage"}],
        "model": {"checkpoint": "model/ltx.safetensors", "text_encoder": "model/gemma"},
    }


@pytest.fixture
def write(tmp_path: Path, values: dict[str, Any]) -> Write:
    """Write a configuration file with changes to its sections."""

    def write(name: str = "run.yaml", **sections: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(values | sections))
        return path

    return write
