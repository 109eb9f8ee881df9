"""The script that measures kinds of adapters runs at toy sizes."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.adapters import main


def test_every_kind_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(sys, "argv", ["adapters.py", "--tiny", "--out", str(out)])
    assert main() == 0
    rows = {row["row"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert list(rows) == ["LoCon", "LoKr", "LoHa", "DoRA", "DoRA of LoKr", "LoRA", "LoRA, dropout"]
    assert all({"date", "gpu", "torch", "predicted_gib"} <= row.keys() for row in rows.values())
    assert rows["LoCon"]["trained"] == rows["LoRA"]["trained"] > rows["LoKr"]["trained"] > 0
