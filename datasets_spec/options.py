"""Sections of options, and names: in which section a name is, and the names that options had in earlier releases.

An option that is renamed keeps its earlier name as `serialization_alias`, in its `Field`. That is all there is to
declare. Until `OLD_NAMES_END` the earlier name is understood and warned of. Whatever becomes part of a key or of a
LoRA's header is dumped with `by_alias=True` and so keeps the earlier name for good: a rename alone recomputes nothing.
"""

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict

OLD_NAMES_END = "0.2"
"""The first release that no longer understands earlier names."""


class ConfigModel(BaseModel):
    """Base of every configuration section: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    LOCATIONS: ClassVar[tuple[str, ...]] = ()
    """Options that are a path or a repository on the hub."""


class NamedTwice(ValueError):
    """An option that is set by its earlier and by its present name."""


def section(annotation: Any) -> type[BaseModel] | None:
    """The section inside an annotation: the annotation itself, or an element of a tuple, a list or a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, list, Union, types.UnionType):
        return next((found for a in get_args(annotation) if (found := section(a))), None)
    return None


def earlier_names(model: type[BaseModel]) -> dict[str, str]:
    """Earlier name to present name of the options that one section has itself."""
    return {old: name for name, field in model.model_fields.items() if (old := field.serialization_alias) is not None}


def present_path(path: Sequence[str], model: type[BaseModel]) -> list[str]:
    """The names that lead to an option of `model`, each in its present form; unknown names stay as they are."""
    here: type[BaseModel] | None = model
    found = []
    for part in path:
        if here is None or part.isdigit():  # the place in a list; the section is that of its elements
            found.append(part)
            continue
        found.append(earlier_names(here).get(part, part))
        field = here.model_fields.get(found[-1])
        here = section(field.annotation) if field else None
    return found


def with_present_names(
    values: Any, model: type[BaseModel], renamed: Callable[[str, str], None], place: str = ""
) -> Any:
    """A copy of a document in which every option has its present name.

    Args:
        values: The document, or a part of it, as YAML or JSON gives it.
        model: The section that it is meant for.
        renamed: Is called with the earlier and the present dotted name of every option that is renamed.
        place: The dotted name of `values` with a dot at its end, or an empty string.

    Raises:
        NamedTwice: an option has a value by each of its names.
    """
    if isinstance(values, (list, tuple)):
        return [with_present_names(one, model, renamed, f"{place}{number}.") for number, one in enumerate(values)]
    if not isinstance(values, Mapping):
        return values
    earlier, found = earlier_names(model), dict[Any, Any]()
    for old, value in values.items():
        name = earlier.get(old, old)
        if name != old:
            if name in values:
                raise NamedTwice(f"option '{place}{old}' is the earlier name of '{place}{name}', which is set too")
            renamed(f"{place}{old}", f"{place}{name}")
        field = model.model_fields.get(name) if isinstance(name, str) else None
        inner = section(field.annotation) if field else None
        found[name] = value if inner is None else with_present_names(value, inner, renamed, f"{place}{name}.")
    return found


def every_option(model: type[BaseModel], before: str = "", depth: int = 3) -> Iterator[str]:
    """Dotted names of all options, sections among them; `depth` ends what a section that holds itself begins."""
    for name, field in model.model_fields.items():
        yield before + name
        inner = section(field.annotation)
        if inner is not None and before.count(".") < depth:
            yield from every_option(inner, f"{before}{name}.", depth)
