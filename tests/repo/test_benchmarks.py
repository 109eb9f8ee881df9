"""The page of figures is what its script makes of the results, and no figure in it is written by hand."""

import json

from benchmarks.report import PAGE, RESULTS, page


def test_page_is_made_from_the_results() -> None:
    assert PAGE.read_text() == page(), "run: python benchmarks/report.py"


def test_every_result_says_where_and_when_it_was_measured() -> None:
    rows = [json.loads(line) for file in RESULTS.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert rows
    assert all({"part", "date", "gpu", "torch"} <= row.keys() for row in rows)
