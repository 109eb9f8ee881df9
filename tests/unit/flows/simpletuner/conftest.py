"""A project as the guide lays it out: `config/config.json`, its datasets, and a folder of footage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.config import RunConfig, guide_warnings, load_config

PRINTED = Path(__file__).parents[3] / "simpletuner"
LEAST = {"data_backend_config": "config/ltx2/multidatabackend.json"}
Load = Callable[..., RunConfig]
Notices = Callable[..., list[str]]


def printed(name: str) -> Any:
    """A file of the guide, as printed."""
    return json.loads((PRINTED / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The guide's files where it says, byte for byte."""
    (tmp_path / "config" / "ltx2").mkdir(parents=True)
    (tmp_path / "datasets" / "videos").mkdir(parents=True)
    shutil.copy(PRINTED / "config.json", tmp_path / "config" / "config.json")
    shutil.copy(PRINTED / "multidatabackend.json", tmp_path / "config" / "ltx2" / "multidatabackend.json")
    return tmp_path


@pytest.fixture
def write(project: Path) -> Callable[..., Path]:
    """Write a `config.json` of these options, with the guide's datasets."""

    def write(**options: Any) -> Path:
        path = project / "config" / "own.json"
        path.write_text(json.dumps(LEAST | options))
        return path

    return write


@pytest.fixture
def load(write: Callable[..., Path]) -> Load:
    """The configuration that these options of the guide make."""
    return lambda **options: load_config(write(**options), {})


@pytest.fixture
def notices(write: Callable[..., Path]) -> Notices:
    """What is told of these options."""
    return lambda **options: list(guide_warnings(write(**options)))
