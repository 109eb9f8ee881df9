"""The script that measures routes over blocks runs at toy sizes."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.tread import main


def test_every_way_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(sys, "argv", ["tread.py", "--tiny", "--out", str(out)])
    assert main() == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["part"], row["row"], row["ratio"]) for row in rows] == [
        ("tread", "no route", 0),
        ("tread", "route", 0.5),
    ]
    assert all({"date", "gpu", "torch"} <= row.keys() for row in rows)
    assert rows[0]["loss"] != rows[1]["loss"]
