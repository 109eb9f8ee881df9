"""Say what is wrong with a configuration in the user's words: the option, its value, what was wanted, what is near."""

import difflib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tasks.address import hide_secrets

WANTED = {
    "bool": "true or false is wanted",
    "int": "a whole number is wanted",
    "float": "a number is wanted",
    "finite_number": "a finite number is wanted",
    "string": "text is wanted",
    "path": "a path is wanted",
    "tuple": "a list is wanted",
    "list": "a list is wanted",
    "dict": "a section of options is wanted",
    "mapping": "a section of options is wanted",
    "model": "a section of options is wanted",
    "greater_than": "more than {gt} is wanted",
    "greater_than_equal": "{ge} or more is wanted",
    "less_than": "less than {lt} is wanted",
    "less_than_equal": "{le} or less is wanted",
    "multiple_of": "a multiple of {multiple_of} is wanted",
    "literal_error": "{expected} is wanted",
    "string_too_short": "text is wanted, not nothing",
    "string_pattern_mismatch": "text of the form {pattern} is wanted",
    "too_short": "{min_length} or more of them are wanted",
    "too_long": "{max_length} or fewer of them are wanted",
}
"""What is said of pydantic's kinds of errors, in the words of a person who writes a configuration."""
KINDS = ("_type", "_parsing", "_parsing_size", "_from_float")
"""Endings of the kinds of one type, such as `int_parsing`; what is wanted is the same for all."""


def explain(error: ValidationError, model: type[BaseModel], source: str | Path) -> str:
    """All faults of a configuration, one a line."""
    faults = _causes(error.errors())
    lines = list(dict.fromkeys(hide_secrets(_line(fault, model)) for fault in faults))
    return f"{source}: " + ("\n  ".join(["several options are wrong:", *lines]) if len(lines) > 1 else lines[0])


def _causes(faults: Sequence[Any]) -> list[Any]:
    """Without those that only follow from others: a list whose items are wrong is short of items, too."""
    inside = [fault["loc"] for fault in faults]
    return [fault for fault in faults if fault["type"] != "too_short" or not _holds(fault["loc"], inside)]


def _holds(place: tuple[int | str, ...], others: Sequence[tuple[int | str, ...]]) -> bool:
    return any(len(other) > len(place) and other[: len(place)] == place for other in others)


def where_wrong(error: Exception) -> str:
    """What is wrong with a text that is no YAML or JSON, and where; not the text itself, which may have a password."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem or error.context}, line {mark.line + 1}, column {mark.column + 1}"
    return hide_secrets(str(error))


def _line(fault: Any, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    match fault["type"]:
        case "extra_forbidden":
            return f"unknown option {where!r}; {_hint(str(fault['loc'][-1]), fault['loc'][:-1], model)}"
        case "missing":
            return f"option {where!r} is missing; set it"
        case "value_error" if isinstance(fault["input"], dict):  # of a whole section, which says itself what is wrong
            return f"{f'{where}: ' if where else ''}{fault['ctx']['error']}"
        case "value_error":
            return f"option {where!r} is {_short(fault['input'])}: {fault['ctx']['error']}"
        case _:
            return f"option {where!r} is {_short(fault['input'])}; {_wanted(fault)}"


def _wanted(fault: Any) -> str:
    kind = fault["type"]
    for ending in KINDS:
        kind = kind.removesuffix(ending)
    template = WANTED.get(fault["type"]) or WANTED.get(kind)
    if template is None:
        return str(fault["msg"])
    bounds = {name: f"{one:g}" if isinstance(one, float) else one for name, one in fault.get("ctx", {}).items()}
    return template.format(**bounds)


def _short(value: Any) -> str:
    """As it was written, cut where it is a whole section."""
    text = hide_secrets(repr(value))
    return text if len(text) <= 200 else f"{text[:197]}..."


def _hint(name: str, place: Sequence[int | str], model: type[BaseModel]) -> str:
    """Options near in name, in that section, else of that very name elsewhere."""
    if near := difflib.get_close_matches(name, _names(model, place), n=1, cutoff=0.5):
        return f"did you mean {near[0]!r}?"
    elsewhere = [dotted for dotted in _every_name(model) if dotted.rpartition(".")[2] == name]
    if elsewhere:
        return f"did you mean {' or '.join(map(repr, elsewhere[:3]))}?"
    return "docs/config.md lists all options"


def _every_name(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Dotted names of all options; of a section once, though it may hold itself."""
    for name, field in model.model_fields.items():
        yield before + name
        inner = _model(field.annotation)
        if inner is not None and before.count(".") < 3:
            yield from _every_name(inner, f"{before}{name}.")


def _names(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Names of the options at a place in the configuration."""
    here = model
    for part in path:
        if isinstance(part, str) and part in here.model_fields:
            found = _model(here.model_fields[part].annotation)
            if found is None:
                return []
            here = found
    return list(here.model_fields)


def _model(annotation: Any) -> type[BaseModel] | None:
    """The configuration section inside an annotation: itself, or an element of a tuple or union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, list, Union, types.UnionType):
        return next((found for a in get_args(annotation) if (found := _model(a))), None)
    return None
