"""The script that measures kinds of adapters runs at toy sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.numerics
ROOT = Path(__file__).parents[3]


def test_every_kind_is_a_row(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "benchmarks/adapters.py", "--tiny", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = {row["row"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert list(rows) == ["LoCon", "LoKr", "LoHa", "DoRA", "DoRA of LoKr", "LoRA", "LoRA, dropout"]
    assert all({"date", "gpu", "torch", "predicted_gib"} <= row.keys() for row in rows.values())
    assert rows["LoCon"]["trained"] == rows["LoRA"]["trained"] > rows["LoKr"]["trained"] > 0
