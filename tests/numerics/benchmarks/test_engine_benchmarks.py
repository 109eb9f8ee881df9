"""The scripts that measure the engine run at toy sizes, without Prefect, MLflow and PyAV."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.numerics

ROOT = Path(__file__).parents[3]
NOT_THERE = ("av", "webdataset", "prefect", "mlflow")
RUN = f"""
import runpy, sys
sys.path = [p for p in sys.path if p != {str(ROOT)!r}]
for name in {NOT_THERE}:
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def lines(script: str, out: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-c", RUN, f"benchmarks/{script}", "--tiny", "--out", str(out), *arguments]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert all({"part", "date", "gpu", "torch"} <= row.keys() for row in rows)
    return rows


def test_start_up(tmp_path: Path) -> None:
    (row,) = lines("start_up.py", tmp_path / "out.jsonl", "--precision", "int8")
    assert [start["compile_cache"] for start in row["rows"]] == ["cold", "warm"]
    phases = ("imports_s", "device_s", "load_s", "lora_s", "compile_s", "capture_s", "first_step_s")
    for start in row["rows"]:
        assert start["total_s"] == pytest.approx(sum(start[name] for name in phases), abs=0.1)
    assert row["rows"][0]["loss"] == row["rows"][1]["loss"]


def test_kill(tmp_path: Path) -> None:
    (row,) = lines("kill_gpu.py", tmp_path / "out.jsonl", "--seed", "0", "--optimizer", "adamw8bit")
    (case,) = row["rows"]
    assert case["same_bytes"]
    assert case["killed_after_step"] == 4
    assert case["resumed_from_step"] == 2


def test_engine_table(tmp_path: Path) -> None:
    arguments = ("--blocks", "2", "--precisions", "int8", "native", "--no-baseline")
    rows = lines("engine_table.py", tmp_path / "out.jsonl", *arguments)
    assert all(row["loss"] > 0 for row in rows)
    assert {row["row"] for row in rows} >= {"8 bits resident, fits 32 GB", "bf16 streamed"}
    assert {row["precision"] for row in rows} == {"int8", "native"}
