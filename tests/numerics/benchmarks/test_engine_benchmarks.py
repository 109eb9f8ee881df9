"""The scripts that measure the engine run at toy sizes, without Prefect, MLflow and PyAV."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.numerics.benchmarks.one_process import ROOT, run_scripts

pytestmark = pytest.mark.timeout(600)  # all scripts run for the first test

NOT_THERE = ("av", "webdataset", "prefect", "mlflow")
WITHOUT = f"""
sys.path = [p for p in sys.path if p != {str(ROOT)!r}]
for name in {NOT_THERE}:
    sys.modules[name] = None
"""
SCRIPTS = {
    "start_up": ("--precision", "int8"),
    "kill_gpu": ("--seed", "1", "--optimizer", "adamw8bit"),
    "gradients": (),
    "engine_table": ("--blocks", "2", "--precisions", "int8", "native", "--no-baseline"),
}
Lines = Mapping[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """What each script appended to its file."""
    out = tmp_path_factory.mktemp("lines")
    run_scripts(SCRIPTS, out, first=WITHOUT)
    return {name: [json.loads(line) for line in (out / name).read_text().splitlines()] for name in SCRIPTS}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_line_says_where_it_was_measured(name: str, lines: Lines) -> None:
    assert lines[name]
    assert all({"part", "date", "gpu", "torch"} <= row.keys() for row in lines[name])


def test_start_up(lines: Lines) -> None:
    (row,) = lines["start_up"]
    assert [start["compile_cache"] for start in row["rows"]] == ["cold", "warm"]
    phases = ("imports", "device", "load", "lora", "policies", "optimizer", "compile_and_capture", "update")
    for start in row["rows"]:
        assert start["total_s"] == pytest.approx(sum(start[f"{name}_s"] for name in phases), abs=0.1)
    assert row["rows"][0]["loss"] == row["rows"][1]["loss"]


def test_kill(lines: Lines) -> None:
    (row,) = lines["kill_gpu"]
    (case,) = row["rows"]
    assert case["same_bytes"]
    assert case["killed_after_step"] == 4
    assert case["resumed_from_step"] == 2


def test_engine_table(lines: Lines) -> None:
    rows = lines["engine_table"]
    assert all(row["loss"] > 0 for row in rows)
    assert {row["row"] for row in rows} >= {"8 bits resident, fits 32 GB", "bf16 streamed"}
    assert {row["precision"] for row in rows} == {"int8", "native"}


def test_gradients(lines: Lines) -> None:
    rows = {(row["row"], row["lora"]): row for row in lines["gradients"]}
    for lora in ("fresh", "trained"):
        assert rows["float32", lora]["error"] == 0
        assert rows["float32", lora]["falls_by"] > 0
        assert 0 < rows["bf16, fused", lora]["error"] < 0.05
        assert rows["bf16, fused", lora]["one_minus_cosine"] < 1e-3
    assert rows["plain diffusers + peft", "fresh"]["loss"] != rows["plain diffusers + peft", "trained"]["loss"]
