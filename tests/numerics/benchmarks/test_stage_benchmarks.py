"""The scripts that measure the encoding stages run at toy sizes, and need neither PyAV nor the pipeline's libraries."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.numerics.benchmarks.one_process import run_scripts

NOT_THERE = ("av", "webdataset", "prefect", "mlflow")
"""What the machine with the GPU may lack. Digests need pyarrow, and rows pydantic."""
END = "a script's end"
REPORT = f"print({END!r}, [m for m in {NOT_THERE} if m in sys.modules])"
SCRIPTS = {"encode_stage": ("--clips", "4"), "embed_stage": ("--captions", "30")}
Rows = Mapping[str, dict[str, Any]]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The line of each script."""
    out = tmp_path_factory.mktemp("rows")
    *outputs, last = run_scripts(SCRIPTS, out, after_each=REPORT).split(END)
    assert last == " []\n", "none of them, by the end of the last script"
    found = {}
    for name, printed in zip(SCRIPTS, outputs, strict=True):
        (line,) = (out / name).read_text().splitlines()
        assert printed.splitlines()[-1] == line
        found[name] = json.loads(line)
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_line_says_where_it_was_measured(name: str, rows: Rows) -> None:
    assert {"part", "date", "gpu", "torch"} <= rows[name].keys()


def test_encode_stage(rows: Rows) -> None:
    row = rows["encode_stage"]
    assert [way["way"] for way in row["rows"]] == ["eager", "channels_last", "batch2"]
    assert all(way["seconds_per_clip"] > 0 and way["relative_off"] < 1e-2 for way in row["rows"])
    assert 0 < row["loop_gpu_busy_share"] <= 1
    assert row["loop_clips"] == 4


def test_embed_stage(rows: Rows) -> None:
    row = rows["embed_stage"]
    assert [way["way"] for way in row["rows"]] == ["bf16", "mixed", "int8", "int8_streamed"]
    assert all(way["captions_per_s"] > 0 and way["mib_per_caption"] < 0.01 for way in row["rows"])
    assert row["same_bits_in_other_company"]
