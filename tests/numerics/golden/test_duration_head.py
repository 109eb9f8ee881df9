"""LTX-2.5's guess of a shot's length."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_core.errors import CheckpointError
from ltx_core.text.duration import load_duration_head, predicted_seconds

pytestmark = pytest.mark.numerics


def test_seconds(duration_head_golden: Any) -> None:
    """From both streams' contexts, and from either; within the relative 1e-4 that the data ask for."""
    folder = duration_head_golden.folder
    head = load_duration_head(folder / "checkpoint.safetensors", device="cpu", dtype=torch.float32)
    text = load_file(folder / "text.safetensors")
    video, audio = text["video_context_0"], text["audio_context_0"]
    found = {
        "both": predicted_seconds(head, video, audio),
        "video_only": predicted_seconds(head, video, None),
        "audio_only": predicted_seconds(head, None, audio),
    }
    assert found.keys() == duration_head_golden.tensors.keys()
    for name, seconds in found.items():
        torch.testing.assert_close(seconds, duration_head_golden.tensors[name], rtol=1e-4, atol=0)


def test_a_file_without_one_is_told(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="has no duration head"):
        load_duration_head(tmp_path / "other.safetensors", device="cpu", dtype=torch.float32)
