"""The script that measures routes over blocks runs at toy sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.numerics
ROOT = Path(__file__).parents[3]


def test_every_way_is_a_row(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "benchmarks/tread.py", "--tiny", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["part"], row["row"], row["ratio"]) for row in rows] == [
        ("tread", "no route", 0),
        ("tread", "route", 0.5),
        ("tread", "route, fixed lengths", 0.5),
    ]
    assert all({"date", "gpu", "torch"} <= row.keys() for row in rows)
    assert rows[0]["loss"] != rows[1]["loss"]
