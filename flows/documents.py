"""Files that people write, YAML or JSON, read so that no file can cost more than itself or end in a traceback.

A file of a few lines can name itself ten times ten times ten times; a value can be a number of a million digits, a
path with a NUL in it, or nothing that a number should be. All are refused here, where the place in the file is known.
"""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from datasets_spec.options import earlier_names, every_option, section
from ltx_core.errors import ConfigError
from ltx_core.io.json_file import parse_json
from tasks.tracking.address import hide_secrets

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
"""Messages for pydantic's kinds of errors, in the words of a person who writes a configuration."""
KINDS = ("_type", "_parsing", "_parsing_size", "_from_float")
"""Endings of the kinds of one type, such as `int_parsing`; what is wanted is the same for all."""


def explain(error: ValidationError, model: type[BaseModel], source: str | Path) -> str:
    """All faults of a configuration, one a line."""
    faults = _joined(_causes([_without_branches(fault) for fault in error.errors()]))
    lines = list(dict.fromkeys(hide_secrets(_line(fault, model)) for fault in faults))
    return f"{source}: " + ("\n  ".join(["several options are wrong:", *lines]) if len(lines) > 1 else lines[0])


BRANCH = re.compile(r"constrained-\w+|(literal|tuple|list)\[.*\]|int|float|bool|str")
"""Pydantic's names of the types of which an option may have one, where they stand in the place of a fault."""


def _without_branches(fault: Any) -> dict[str, Any]:
    """The fault at its option, and whether it is that of one type among others that the option may have."""
    place = tuple(part for part in fault["loc"] if not (isinstance(part, str) and BRANCH.fullmatch(part)))
    return {**fault, "loc": place, "is_branch": len(place) < len(fault["loc"])}


def _causes(faults: Sequence[Any]) -> list[Any]:
    """Without those that only follow from others: a list whose items are wrong is short of items, too, and is not the
    number that it might have been instead."""
    inside = [fault["loc"] for fault in faults]
    return [
        fault
        for fault in faults
        if not (fault["type"] == "too_short" or fault["is_branch"]) or not _holds(fault["loc"], inside)
    ]


def _joined(faults: Sequence[Any]) -> list[Any]:
    """With one fault of an option that may have one of several types: each type's wish is in its `others`."""
    joined: dict[Any, Any] = {}
    for number, fault in enumerate(faults):
        first = joined.setdefault(fault["loc"] if fault["is_branch"] else number, {**fault, "others": []})
        if first["type"] != fault["type"]:
            first["others"].append(fault)
    return list(joined.values())


def _holds(place: tuple[int | str, ...], others: Sequence[tuple[int | str, ...]]) -> bool:
    return any(len(other) > len(place) and other[: len(place)] == place for other in others)


def where_wrong(error: Exception) -> str:
    """Return what is wrong with a text that is no YAML or JSON, and where; not the text itself, which may have a
    password."""
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
            wishes = [_wanted(one) for one in (fault, *fault["others"])]
            either = " or ".join([*(wish.removesuffix(" is wanted") for wish in wishes[:-1]), wishes[-1]])
            return f"option {where!r} is {_short(fault['input'])}; {either}"


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
    """The option nearest in its present or earlier name in that section, else those of that very name elsewhere."""
    here = _section_at(model, place)
    known = {**dict(zip(here.model_fields, here.model_fields, strict=True)), **earlier_names(here)} if here else {}
    if near := difflib.get_close_matches(name, known, n=1, cutoff=0.5):
        return f"did you mean {known[near[0]]!r}?"
    elsewhere = [dotted for dotted in every_option(model) if dotted.rpartition(".")[2] == name]
    if elsewhere:
        return f"did you mean {' or '.join(map(repr, elsewhere[:3]))}?"
    return "docs/config.md lists all options"


def _section_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel] | None:
    """The section at a place in the configuration; None where there is a plain value."""
    here: type[BaseModel] | None = model
    for part in path:
        if here is not None and isinstance(part, str) and part in here.model_fields:
            here = section(here.model_fields[part].annotation)
    return here


MOST_BYTES = 2**22
MOST_VALUES = 200_000
"""Of a file with its aliases written out."""
MOST_DEPTH = 100
LARGEST = 2**63
MOST_SHOWN = 60
"""Characters of a value in a message."""


def read_document(path: Path, what: str) -> Any:
    """The value in a file: JSON if it is named so, else YAML. `what` names the file's purpose in messages.

    Raises:
        ConfigError: it is not there, cannot be read, is no YAML or JSON, or holds what no option can be.
    """
    text = _text(path, what)
    kind = "JSON" if path.suffix.lower() == ".json" else "YAML"
    try:
        value = parse_json(text) if kind == "JSON" else parse_yaml(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{what} {path} is not valid {kind}: {where_wrong(error)}. Correct it there.") from error
    check_values(value, f"{what} {path}")
    return value


def parse_yaml(text: str) -> Any:
    """A YAML value.

    Raises:
        ValueError, yaml.YAMLError: it is not YAML, names an option twice in one section, is nested too deeply, or grows
            too large when its aliases are written out.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_node(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_values(value: Any, where: str) -> None:
    """See that every number is finite and fits 64 bits, and every name and text can be one.

    Raises:
        ConfigError: one is not; says which option.
    """
    for place, found in _leaves(value, (), 0, where):
        shown = ".".join(place) or "the value"
        if isinstance(found, str) and "\0" in found:
            raise ConfigError(f"{where}: option {shown!r} holds a NUL character; remove it")
        if isinstance(found, float) and not math.isfinite(found):
            raise ConfigError(f"{where}: option {shown!r} is {found}; a finite number is wanted")
        if isinstance(found, int) and not -LARGEST <= found < LARGEST:
            digits = found.bit_length() * 3 // 10
            raise ConfigError(
                f"{where}: option {shown!r} is a number of some {digits} digits; one of 64 bits is wanted"
            )


def exists(path: Path) -> bool:
    """Return whether anything is there, readable or not."""
    try:
        return path.exists()
    except (OSError, ValueError):  # no permission to look, or a name that is too long: opening it will say which
        return True


def _text(path: Path, what: str) -> str:
    try:
        if path.is_dir():
            raise ConfigError(f"{what} {path} is a folder; give the file in it")
        if not path.is_file():
            raise ConfigError(f"{what} {path} is not there; correct the path")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"{what} {str(path)[:200]!r} cannot be read: {reason}; correct the path or its permissions"
        ) from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{what} {path} has {len(data)} bytes; at most {MOST_BYTES} are read. Is it the right file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else f"{error.reason} at byte {error.start}"
        raise ConfigError(f"{what} {path} is no text in UTF-8 ({hint}); save it as UTF-8") from error


def _check_node(root: yaml.Node) -> None:
    """Count values as if every alias were written out, looking at each node once however often it is named, and see
    that no section has a name twice."""
    sizes: dict[int, int] = {}
    above: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if id(node) in above:
            raise ValueError("an alias in it names what it is part of")
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
        if id(node) not in sizes:
            _check_names(node)
            above.add(id(node))
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in _children(node))
            above.remove(id(node))
        return sizes[id(node)]

    if (total := size(root, 0)) > MOST_VALUES:
        raise ValueError(f"with its aliases written out it has some {total:.0e} values; at most {MOST_VALUES} are read")


def _check_names(node: yaml.Node) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ValueError(f"{key.value!r} is given twice in one section, again in line {line}; keep one")
            seen.add(key.value)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _leaves(value: Any, place: tuple[str, ...], depth: int, where: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value and every name, with the names that lead there."""
    if depth > MOST_DEPTH:
        raise ConfigError(f"{where}: it is nested more than {MOST_DEPTH} deep")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                shown = json.dumps(name, default=str)[:MOST_SHOWN]
                raise ConfigError(f"{where}: {shown} in {'.'.join(place) or 'it'} is no name of an option; quote it")
            yield place, name
            yield from _leaves(inner, (*place, name), depth + 1, where)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*place, str(number)), depth + 1, where)
    else:
        yield place, value
