"""Options that share an answer: each of them gets it, through the file that a user has."""

from pathlib import Path
from typing import Any

import pytest

from flows.config import guide_warnings
from flows.simpletuner.draft import is_off
from flows.simpletuner.table import Group, table
from ltx_core.errors import ConfigError
from tests.unit.flows.simpletuner.conftest import LEAST, Load, Notices
from tests.unit.flows.simpletuner.test_datasets import ENTRY, load, write

GROUPS, OF_DATASETS = table("options").groups, table("datasets").groups
ON = "something of it"


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.options[:20])
def test_each_option_of_a_group_gets_its_answer(group: Group, load: Load, notices: Notices) -> None:
    names = group.options.split()
    if group.answer == "refused":
        with pytest.raises(ConfigError) as raised:
            load(**dict.fromkeys(names, ON))
        lines = [line for line in str(raised.value).splitlines() if group.why in line]
        assert [name for name in names if any(repr(name) in line for line in lines)] == names
    else:
        told = [line for line in notices(**dict.fromkeys(names, ON)) if line.partition(": ")[0] in names]
        wanted = [f"{name}: {group.why}" for name in names]
        assert sorted(told) == (sorted(wanted) if group.answer == "no effect" else [])
    assert load(**dict.fromkeys(names)) == load()


@pytest.mark.parametrize(
    "group", [group for group in GROUPS if group.answer == "refused"], ids=lambda g: g.options[:20]
)
def test_what_is_off_or_a_default_is_taken_in_silence(group: Group, notices: Notices) -> None:
    name = group.options.split()[0]
    for value in (False, "false", 0, *group.neutral):
        assert notices(**{name: value}) == notices(), value


@pytest.mark.parametrize("group", OF_DATASETS, ids=lambda group: group.options[:20])
def test_each_option_of_a_dataset_gets_its_answer(group: Group, project: Path) -> None:
    names = group.options.split()
    entry = {**ENTRY}
    for name in names:
        section, _, inner = name.rpartition(".")
        entry = {**entry, section: {**entry.get(section, {}), inner: ON}} if section else {**entry, name: ON}
    if group.answer == "refused":
        with pytest.raises(ConfigError) as raised:
            load(project, entry)
        lines = [line for line in str(raised.value).splitlines() if group.why in line]
        assert [name for name in names if any(repr(name) in line for line in lines)] == names
        return
    lines = [line for line in guide_warnings(write(project, entry)) if group.why in line]
    assert [name for name in names if any(f", {name}: " in line for line in lines)] == (
        names if group.answer == "no effect" else []
    )


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", "false", "No", "none", "0", "OFF"])
def test_words_for_off(value: Any) -> None:
    assert is_off(value)


@pytest.mark.parametrize("value", [True, 1, "true", "checkpoint", 0.1, "1"])
def test_words_for_on(value: Any) -> None:
    assert not is_off(value)


def test_groups_hold_no_name_twice() -> None:
    for groups in (GROUPS, OF_DATASETS):
        names = [name for group in groups for name in group.options.split()]
        assert len(names) == len(set(names))
    assert not LEAST.keys() & {name for group in GROUPS for name in group.options.split()}
