"""The page of figures is what its script makes of the results, and no figure in it is written by hand."""

import json
import re

from benchmarks.report import PAGE, RESULTS, page
from tests.repo.source import ROOT


def test_page_is_made_from_the_results() -> None:
    assert PAGE.read_text() == page(), "run: python benchmarks/report.py"


def test_every_result_says_where_and_when_it_was_measured() -> None:
    rows = [json.loads(line) for file in RESULTS.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert rows
    assert all({"part", "date", "gpu", "torch"} <= row.keys() for row in rows)


def test_steps_that_the_page_of_the_first_lora_quotes_were_measured() -> None:
    """Memory and seconds of one measured step, and the minutes that 2000 of them take."""
    lines = (line for file in RESULTS.glob("*.jsonl") for line in file.read_text().splitlines())
    rows = [row for row in map(json.loads, lines) if "H200" in row["gpu"] and "peak_gib" in row and "seconds" in row]
    measured = {(f"{row['peak_gib']:.1f}", f"{row['seconds']:.2f}"): row["seconds"] for row in rows}
    quoted = re.findall(r"\| ([\d.]+) GiB \| ([\d.]+) \| (\d+) min \|", (ROOT / "docs" / "first-lora.md").read_text())
    assert len(quoted) > 5
    for gib, seconds, minutes in quoted:
        assert (gib, seconds) in measured
        assert abs(measured[gib, seconds] * 2000 / 60 - int(minutes)) <= 0.55
