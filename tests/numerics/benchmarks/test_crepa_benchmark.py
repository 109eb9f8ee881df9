"""The script that measures CREPA runs at toy sizes."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.crepa import main


def test_every_way_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(sys, "argv", ["crepa.py", "--tiny", "--out", str(out)])
    assert main() == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["part"], row["row"]) for row in rows] == [
        ("crepa", "features, 1 frames at once"),
        ("crepa", "features, 16 frames at once"),
        ("crepa", "step, off"),
        ("crepa", "step, on"),
    ]
    assert all({"date", "gpu", "torch"} <= row.keys() for row in rows)
    assert rows[2]["loss"] != rows[3]["loss"]  # the optimizer's step between them moved the LoRA
