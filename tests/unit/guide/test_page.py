"""docs/guide.md: no option of the guide is missing, no cell is empty, and each row names a test that is there."""

import re
from pathlib import Path

import pytest

from flows.guide.dataset_options import DATASET_OPTIONS, OPTIONS_LIST
from flows.guide.option import Option, Tip
from flows.guide.page import guide_page
from flows.guide.table import OPTIONS, SECTIONS
from flows.guide.tips import TIPS
from tests.unit.guide.conftest import PRINTED, printed

ROOT = PRINTED.parents[1]
NAMED = (PRINTED / "options.txt").read_text().splitlines()
ROWS: list[Option | Tip] = [
    *(tip for tips in TIPS.values() for tip in tips),
    *(option for options in SECTIONS.values() for option in options),
    *OPTIONS_LIST,
]


@pytest.mark.parametrize("name", NAMED)
def test_no_option_of_the_guide_is_missing(name: str) -> None:
    kind, _, key = name.rpartition(" ")
    assert key in (DATASET_OPTIONS if kind else OPTIONS)


def test_the_list_has_every_option_of_the_printed_files() -> None:
    flat = {key for name in ("config", "group_offload", "tread") for key in printed(name)}
    entries = printed("multidatabackend")
    plain = {key for entry in entries for key, value in entry.items() if not isinstance(value, dict)}
    inner = {f"{key}.{name}" for entry in entries for key in ("video", "audio") for name in entry.get(key, {})}
    assert flat | {f"dataset {key}" for key in plain | inner} <= set(NAMED)


def test_every_option_has_one_row() -> None:
    assert len(OPTIONS) == sum(map(len, SECTIONS.values()))
    assert len(DATASET_OPTIONS) == len(OPTIONS_LIST)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key if isinstance(row, Option) else row.what)
def test_each_row_says_all_and_names_a_test(row: Option | Tip) -> None:
    assert row.does.strip()
    assert row.differs.strip()
    path, _, function = row.test.partition("::")
    assert re.search(rf"^def {function}\(", (ROOT / Path(path)).read_text(), re.M), row.test


def test_no_cell_is_empty() -> None:
    lines = [line for line in guide_page().splitlines() if line.startswith("|")]
    cells = [cell.strip() for line in lines for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    assert len(lines) > len(ROWS)
    assert all(cells)
    assert len(cells) == 4 * len(lines)


def test_what_is_not_built_says_so() -> None:
    page = guide_page()
    assert re.search(r"control video.*not built yet", page)
    for method in ("CREPA", "ReflexFlow", "LyCORIS"):
        assert not re.search(rf"{method}.*not built yet", page)
