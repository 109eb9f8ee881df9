"""The script that measures digests runs at toy size."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.digests import main

pytestmark = [pytest.mark.numerics, pytest.mark.extra]


def test_both_digests_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(sys, "argv", ["digests.py", "--tiny", "--folder", str(tmp_path), "--out", str(out)])
    assert main() == 0
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["part"] == "digests"
    assert min(row["sha256_gb_a_second"], row["blake3_gb_a_second"]) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
