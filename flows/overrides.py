"""`--set a.b=value`: a value put at its dotted place, before the configuration is checked."""

from typing import Any

from ltx_core.errors import ConfigError


def override(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `values["a"]["b"]` for "a.b"; a number in the path is a list index, as in `datasets.0.repeats`.

    Raises:
        ConfigError: there is no such place.
    """
    *way, last = dotted.split(".")
    here: Any = values
    for name in way:
        here = here[_place(here, name, dotted)] if isinstance(here, list) else _section(here, name, dotted)
    if isinstance(here, list):
        here[_place(here, last, dotted)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise ConfigError(_outside(dotted, last))


def _place(here: list[Any], name: str, dotted: str) -> int:
    if not (name.isdigit() and int(name) < len(here)):
        raise ConfigError(f"override {dotted!r}: {name!r} is not one of the places 0 to {len(here) - 1} of that list")
    return int(name)


def _section(here: Any, name: str, dotted: str) -> Any:
    if not isinstance(here, dict):
        raise ConfigError(_outside(dotted, name))
    return here.setdefault(name, {})


def _outside(dotted: str, name: str) -> str:
    return f"override {dotted!r}: {name!r} is not inside a section; use names as in the configuration file"
