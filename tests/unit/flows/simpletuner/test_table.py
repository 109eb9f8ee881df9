"""The tables of SimpleTuner's options: every name in a row exists, no option is missing, and docs/guide.md says all."""

import re
from pathlib import Path
from typing import Any

import pytest

from flows.config import RunConfig
from flows.documents import parse_yaml
from flows.generated import guide_page, options
from flows.simpletuner import table as tables
from flows.simpletuner.draft import PARSERS
from flows.simpletuner.handlers import HANDLERS
from flows.simpletuner.table import Option, Row, Tip, table, tips
from tests.repo.test_glossary import WORDS, count, plain
from tests.unit.flows.simpletuner.conftest import PRINTED, Load, printed

ROOT = PRINTED.parents[1]
NAMED = (PRINTED / "options.txt").read_text().splitlines()
OPTIONS, DATASET_OPTIONS = table("options").options, table("datasets").options
ROWS: list[Row] = [*(tip for rows in tips().values() for tip in rows), *OPTIONS.values(), *DATASET_OPTIONS.values()]
OURS = {name for name, _, _ in options(RunConfig)}
BESIDE = {
    "instance_prompt": "Zubo",
    "lr_warmup_steps": 1,
    "scheduled_sampling_max_step_offset": 50,
    "scheduled_sampling_ramp_steps": 10,
    "validation_adapter_path": "a/b:c.safetensors",
}
"""Options that others cannot be without."""
READ_BEFORE = {"defaults.eval_dataset_id"}
"""What is worked out while the datasets are read, and no option of ours."""


@pytest.mark.parametrize("name", NAMED)
def test_no_option_of_the_guide_is_missing(name: str) -> None:
    kind, _, key = name.rpartition(" ")
    assert key in (DATASET_OPTIONS if kind else OPTIONS)


def test_no_option_of_simpletuner_is_unknown() -> None:
    """Every option that its command line and its page on datasets name."""
    names = (PRINTED / "all_options.txt").read_text().split()
    of_datasets = {name.removeprefix("dataset:") for name in names if name.startswith("dataset:")}
    assert len(names) > 500
    assert of_datasets <= DATASET_OPTIONS.keys()
    assert {name for name in names if ":" not in name} <= OPTIONS.keys()


def test_the_list_has_every_option_of_the_printed_files() -> None:
    flat = {key for name in ("config", "group_offload", "tread") for key in printed(name)}
    entries = printed("multidatabackend")
    plain = {key for entry in entries for key, value in entry.items() if not isinstance(value, dict)}
    inner = {f"{key}.{name}" for entry in entries for key in ("video", "audio") for name in entry.get(key, {})}
    assert flat | {f"dataset {key}" for key in plain | inner} <= set(NAMED)


def test_every_option_has_one_row() -> None:
    for one in (table("options"), table("datasets")):
        assert len(one.options) == sum(map(len, one.sections.values()))
    for path in Path(tables.__file__).parent.glob("*.yaml"):
        assert parse_yaml(path.read_text()), "which raises ValueError for a name that is given twice"


@pytest.mark.parametrize("name", ["options", "datasets"])
def test_every_target_is_an_option_of_ours(name: Any) -> None:
    rows = table(name).options.values()
    targets = {target for row in rows for target in (*row.to, *(t for ours in row.sets.values() for t in ours))}
    targets |= {condition.ours for row in rows for condition in row.needs if condition.ours}
    assert len(targets) > 10
    if name == "datasets":
        targets = {f"defaults.{target}" for target in targets}
    assert {target.replace("defaults.", "datasets[].") for target in targets - READ_BEFORE} <= OURS | {"datasets[].id"}


def test_every_parser_and_every_handler_is_one_and_is_used() -> None:
    rows = [*OPTIONS.values(), *DATASET_OPTIONS.values()]
    assert {row.parse for row in rows} == PARSERS.keys()
    assert {row.handler for row in rows} - {""} == HANDLERS.keys()


def test_every_option_that_a_condition_names_has_a_row() -> None:
    named = {condition.option for row in OPTIONS.values() for condition in row.needs} - {""}
    assert named
    assert named <= OPTIONS.keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [(row.key, value) for row in OPTIONS.values() for value in (*row.words, *row.sets, *row.only)],
)
def test_every_value_that_a_row_names_makes_a_configuration(project: Path, load: Load, key: str, value: Any) -> None:
    (project / "config" / "lycoris_config.json").write_text("{}")
    needed = {one.option: (one.among or (True,))[0] for one in OPTIONS[key].needs if one.option}
    load(**BESIDE | needed | {key: value})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key if isinstance(row, Option) else row.what)
def test_each_row_says_all_and_names_a_test(row: Option | Tip) -> None:
    assert row.does.strip(" .")
    assert row.differs.strip()
    path, _, function = row.test.partition("::")
    assert re.search(rf"^def {function}\(", (ROOT / Path(path)).read_text(), re.M), row.test


def test_rows_are_written_with_the_words_of_the_glossary() -> None:
    """The glossary's own test reads Python, and docs/guide.md names tests and options by their names."""
    options = [*OPTIONS.values(), *DATASET_OPTIONS.values()]
    texts = [text for row in ROWS for text in (row.does, row.differs)]
    texts += [text for row in options for text in (row.warning, row.otherwise, row.refused)]
    texts += [condition.warning for row in options for condition in row.needs]
    texts += [tip.what for rows in tips().values() for tip in rows]
    wrong = {
        f"{name}: {text}"
        for text in texts
        for name, word in WORDS.items()
        if count(word, plain(re.sub(r"`[^`]+`", "", text)))
    }
    assert not wrong, "docs/glossary.md has the word that is used instead"


def test_no_cell_is_empty() -> None:
    lines = [line for line in guide_page().splitlines() if line.startswith("|")]
    cells = [cell.strip() for line in lines for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    assert len(lines) > len(ROWS)
    assert all(cells)
    assert len(cells) == 4 * len(lines)


def test_what_is_not_built_says_so() -> None:
    page = guide_page()
    assert re.search(r"Remote storage is not built yet", page)
    for method in ("CREPA", "ReflexFlow", "LyCORIS"):
        assert not re.search(rf"{method}.*not built yet", page)
