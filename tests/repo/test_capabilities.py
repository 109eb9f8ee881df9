"""docs/capabilities.md names a test for all that is said to be built, and none for what is not."""

import re

import pytest

from tests.repo.source import ROOT

ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/capabilities.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| capability")
]


def test_the_page_has_its_rows() -> None:
    assert len(ROWS) > 30
    assert {len(row) for row in ROWS} == {6}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_is_built_has_a_test_that_is_there(row: list[str]) -> None:
    *_, here, tests = row
    named = re.findall(r"`([^`]+)`", tests)
    assert bool(named) == (here != "not built")
    for name in named:
        path, _, test = name.partition("::")
        assert re.search(rf"^def {test}\(" if test else "^def test_", (ROOT / path).read_text(), re.M), name
