"""All options of the guide, in the order in which they are taken: later ones win or read what earlier ones set."""

import difflib

from flows.guide import (
    adapter_options,
    crepa_options,
    memory_options,
    method_options,
    model_options,
    other_options,
    project_options,
    report_options,
    training_options,
    validation_adapter_options,
    validation_options,
)
from flows.guide.group import rows
from flows.guide.option import Option
from flows.guide.other_groups import GROUPS

SECTIONS: dict[str, tuple[Option, ...]] = {
    "The model": model_options.OPTIONS,
    "Memory": memory_options.OPTIONS,
    "Training": training_options.OPTIONS,
    "The adapter": adapter_options.OPTIONS,
    "Methods": (*method_options.OPTIONS, *crepa_options.OPTIONS),
    "Project": project_options.OPTIONS,
    "Reports": report_options.OPTIONS,
    "Validation": validation_options.OPTIONS,
    "Validation with adapters": validation_adapter_options.OPTIONS,
    "That its quickstart does not name": other_options.OPTIONS,
    "That set nothing here": rows(GROUPS),
}
OPTIONS = {option.key: option for options in SECTIONS.values() for option in options}


def unknown(key: str, table: "dict[str, Option]") -> str:
    """What is said of an option that the table does not have."""
    near = difflib.get_close_matches(key, table, n=1, cutoff=0.6)
    return f"unknown option {key!r}; " + (
        f"did you mean {near[0]!r}?" if near else "docs/guide.md lists those there are"
    )
