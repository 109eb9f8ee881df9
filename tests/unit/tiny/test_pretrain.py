"""The pretraining of the tiny model goes on where a call left it, and writes a checkpoint that loads."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ltx_core.io.digest import file_digest
from ltx_core.tiny.trained import WEIGHTS
from scripts.pretrain.batches import Text

REPOSITORY = Path(__file__).parents[3]


def pretrain(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.pretrain", "--out", str(folder), "--trial", *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.extra
def test_it_stops_in_time_and_goes_on(tmp_path: Path) -> None:
    left = pretrain(tmp_path, "--minutes", "0")
    assert left.returncode == 3, left
    assert "video: left at step 0" in left.stdout
    finished = pretrain(tmp_path)
    assert finished.returncode == 0, finished
    assert (tmp_path / "tiny-ltx2.safetensors").stat().st_size < 16.5e6
    again = pretrain(tmp_path)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1].split()[1:] == finished.stdout.splitlines()[-1].split()[1:]  # the same scores
    assert " ms a step" not in again.stdout


@pytest.mark.whole
def test_the_text_encoder_beside_the_weights_is_the_one_that_they_learnt_with(tmp_path: Path) -> None:
    Text(tmp_path, torch.device("cpu"))
    for name in ("tokenizer.json", "model.safetensors"):
        assert file_digest(tmp_path / name) == file_digest(WEIGHTS / "gemma" / name), name
