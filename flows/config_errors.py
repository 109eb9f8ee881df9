"""Say what is wrong with a configuration in the user's words: the option, its value, what was wanted, what is near."""

import difflib
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, model: type[BaseModel], source: str | Path) -> str:
    """All faults of a configuration, one a line."""
    lines = [_line(fault, model) for fault in error.errors()]
    return f"{source}: " + ("\n  ".join(["several options are wrong:", *lines]) if len(lines) > 1 else lines[0])


def _line(fault: Any, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    match fault["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(fault["loc"][-1]), _names(model, fault["loc"][:-1]), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "docs/config.md lists all options"
            return f"unknown option {where!r}; {hint}"
        case "missing":
            return f"option {where!r} is missing; set it"
        case "value_error" if isinstance(fault["input"], dict):  # of a whole section, which says itself what is wrong
            return f"{f'{where}: ' if where else ''}{fault['ctx']['error']}"
        case _:
            return f"option {where!r} is {fault['input']!r}: {fault['msg']}"


def _names(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
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
