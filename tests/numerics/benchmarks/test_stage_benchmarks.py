"""The scripts that measure the encoding stages run at toy sizes, and need neither PyAV nor the pipeline's libraries."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.numerics

ROOT = Path(__file__).parents[3]
NOT_THERE = ("av", "pyarrow", "pydantic", "webdataset", "prefect", "mlflow")
"""What the machine with the GPU may lack."""
RUN = f"""
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    sys.stderr.write("loaded: " + " ".join(m for m in {NOT_THERE} if m in sys.modules))
"""


def result(script: str, out: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-c", RUN, f"benchmarks/{script}", "--tiny", "--out", str(out), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.endswith("loaded: ")
    (line,) = out.read_text().splitlines()
    assert done.stdout.splitlines()[-1] == line
    row: dict[str, Any] = json.loads(line)
    assert {"part", "date", "gpu", "torch"} <= row.keys()
    return row


def test_encode_stage(tmp_path: Path) -> None:
    row = result("encode_stage.py", tmp_path / "out.jsonl", "--clips", "4")
    assert [way["way"] for way in row["rows"]] == ["eager", "channels_last", "batch2"]
    assert all(way["seconds_per_clip"] > 0 and way["relative_off"] < 1e-2 for way in row["rows"])
    assert 0 < row["loop_gpu_busy_share"] <= 1
    assert row["loop_clips"] == 4


def test_embed_stage(tmp_path: Path) -> None:
    row = result("embed_stage.py", tmp_path / "out.jsonl", "--captions", "30")
    assert [way["way"] for way in row["rows"]] == ["bf16", "mixed", "int8", "int8_streamed"]
    assert all(way["captions_per_s"] > 0 and way["mib_per_caption"] < 0.01 for way in row["rows"])
    assert row["same_bits_in_other_company"]
