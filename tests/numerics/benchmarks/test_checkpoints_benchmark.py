"""The script that measures what a checkpoint costs training runs at toy size."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.checkpoints import main

pytestmark = [pytest.mark.numerics, pytest.mark.extra]


def test_both_ways_write_and_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setattr(sys, "argv", ["checkpoints.py", "--tiny", "--out", str(out), "--folder", str(disk)])
    assert main() == 0
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["part"] == "checkpoints"
    assert row["checkpoint_mb"] > 6 * row["lora_mb"] > 0
    assert 0 < row["standstill_written_beside_steps_s"] <= row["until_on_disk_s"]
    assert row["standstill_written_between_steps_s"] > 0
    assert not list(disk.iterdir())
