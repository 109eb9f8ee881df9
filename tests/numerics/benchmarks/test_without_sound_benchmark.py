"""The script that measures steps on clips without sound runs at toy sizes, and says what it is to say."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.without_sound import ROWS, main


def test_every_kind_of_clip_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(sys, "argv", ["without_sound.py", "--tiny", "--out", str(out)])
    assert main() == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row"] for row in rows] == list(ROWS)
    assert all({"date", "gpu", "torch"} <= row.keys() for row in rows)
    for row in rows:
        sounding = row["row"] != "without sound"
        assert row["video_largest_gradient"] > 0
        assert (row["audio_largest_gradient"] > 0, row["cross_largest_gradient"] > 0) == (sounding, sounding)
