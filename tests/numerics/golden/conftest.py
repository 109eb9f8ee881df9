"""Finds what there is to compare with: by files, so that another folder of the same kind needs no change here."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.model import Model

DEFAULT = Path(__file__).parents[2] / "golden"
GOLDEN = Path(os.environ.get("LTX2_GOLDEN_DIR", DEFAULT))


PATTERNS = {
    "transformer": "transformer_*",
    "first_frame": "transformer_i2v_first_frame_clean",
    "video_vae": "video_vae",
    "audio_vae": "audio_vae",
    "vocoder": "vocoder",
    "text": "text",
    "duration_head": "duration_head",
}
"""The files that a test gets which asks for the fixture `<name>_golden`."""

NOT_YET = {"transformer_with_lora"}
"""Files whose subject another test has, or none yet."""


@dataclass(frozen=True)
class Golden:
    """One file of numbers with its description and the checkpoint they come from."""

    folder: Path
    about: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    def checkpoint(self, *components: str) -> Model:
        return open_combined(self.folder / "checkpoint.safetensors", components=components)


@cache
def read(path: Path) -> Golden:
    golden = Golden(path.parent, json.loads(path.read_text()), load_file(path.with_suffix(".safetensors")))
    assert golden.tensors.keys() == golden.about["tensors"].keys()
    return golden


def files(stem: str) -> list[Any]:
    found = sorted(path for path in GOLDEN.glob(f"*/{stem}.json") if path.stem not in NOT_YET)
    return [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in found]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, pattern in PATTERNS.items():
        if f"{name}_golden" in metafunc.fixturenames:
            metafunc.parametrize(f"{name}_golden", files(pattern), indirect=True)


def _fixture(name: str) -> Any:
    def golden(request: pytest.FixtureRequest) -> Golden:
        return read(request.param)

    return pytest.fixture(golden, name=f"{name}_golden")


transformer_golden = _fixture("transformer")
first_frame_golden = _fixture("first_frame")
video_vae_golden = _fixture("video_vae")
audio_vae_golden = _fixture("audio_vae")
vocoder_golden = _fixture("vocoder")
text_golden = _fixture("text")
duration_head_golden = _fixture("duration_head")

Compare = Callable[..., None]


@pytest.fixture(scope="session")
def compare() -> Compare:
    """Hold numbers to the tolerances that the golden data recommends for float32 on a CPU."""

    def check(found: torch.Tensor, expected: torch.Tensor, *, most: float = 1e-4, relative: float = 1e-5) -> None:
        assert found.shape == expected.shape
        difference = (found - expected).float()
        assert difference.abs().max() < most
        assert difference.norm() / expected.norm() < relative

    return check
