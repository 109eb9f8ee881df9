"""The configuration that is being made, and how values get into it. Files write numbers and switches as text, too."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ON = {"true", "yes", "on", "1"}
OFF = {"false", "no", "off", "0", "", "none"}
NOTHING_SPECIAL = OFF | {"disabled", "no_change", "default", "{}", "[]"}


class Refused(Exception):
    """A value that cannot be taken; the text says what is wanted instead."""


@dataclass
class Draft:
    """Our configuration as far as it is made, and the warnings and faults that are to be said of it."""

    flat: Mapping[str, Any]
    """All options of the file by name, without leading dashes; for options that depend on another."""
    values: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def set(self, dotted: str, value: Any) -> None:
        """Set an option of ours by its dotted name."""
        *way, last = dotted.split(".")
        here = self.values
        for name in way:
            here = here.setdefault(name, {})
        here[last] = value

    def get(self, dotted: str) -> Any:
        """The value that was set, or None."""
        here: Any = self.values
        for name in dotted.split("."):
            here = here.get(name) if isinstance(here, dict) else None
        return here

    def warn(self, key: str, text: str) -> None:
        """Say what is done differently, once."""
        line = f"{key}: {text}"
        if line not in self.warnings:
            self.warnings.append(line)


def is_off(value: Any) -> bool:
    """True of a value that switches something off: false, zero, nothing, and the words for them."""
    return value is None or str(value).strip().lower() in NOTHING_SPECIAL or value in (0, 0.0)


def is_one_of(value: Any, wanted: Iterable[Any]) -> bool:
    """True of a value that equals one of these. Switches, numbers and null may be written as text in any case."""
    values = list(wanted)
    return value in values or str(value).lower() in {str(one).lower() for one in values if not isinstance(one, str)}


def flag(value: Any) -> bool:
    """A switch.

    Raises:
        Refused: it is none.
    """
    word = "" if value is None else str(value).strip().lower()
    if word not in ON | OFF:
        raise Refused(f"is {value!r}; true or false is wanted")
    return word in ON


def number(value: Any) -> float:
    """A finite number.

    Raises:
        Refused: it is none.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise Refused(f"is {value!r}; a number is wanted")
    return found


def number_or_off(value: Any) -> float | None:
    """A number; 0 and the words for off are SimpleTuner's way to say that there is none."""
    return None if is_off(value) else number(value)


def whole(value: Any) -> int:
    """A whole number.

    Raises:
        Refused: it is none.
    """
    found = number(value)
    if found != int(found):
        raise Refused(f"is {value!r}; a whole number is wanted")
    return int(found)


def whole_or_0(value: Any) -> int | None:
    """A whole number; 0 is SimpleTuner's way to say that there is none."""
    return whole(value) or None


def whole_or_off(value: Any) -> int | None:
    """A whole number; 0 and the words for off are SimpleTuner's way to say that there is none."""
    return None if is_off(value) else whole(value)


def positive_or_unset(value: Any) -> int | None:
    """A whole number above 0; any other number is SimpleTuner's way to say that there is none."""
    return whole(value) if number(value) > 0 else None


def list_of_one(value: Any) -> list[int]:
    """A whole number, where we take several."""
    return [whole(value)]


def text(value: Any) -> str:
    """Text that is not empty.

    Raises:
        Refused: it is none.
    """
    if not isinstance(value, str) or not value.strip():
        raise Refused(f"is {value!r}; text is wanted")
    return value


def layer_names(value: Any) -> list[str]:
    """Names as a list, or as text with commas between them.

    Raises:
        Refused: it is neither.
    """
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise Refused(f"is {value!r}; a list of the ends of layers' names is wanted, such as to_q, to_k, to_v")
    return [name.strip() for name in names]


PARSERS: dict[str, Callable[[Any], Any]] = {
    "as_it_is": lambda value: value,
    "as_text": str,
    "given": bool,
    **{
        parser.__name__: parser
        for parser in (
            flag,
            layer_names,
            list_of_one,
            number,
            number_or_off,
            positive_or_unset,
            text,
            whole,
            whole_or_0,
            whole_or_off,
        )
    },
}
"""By the names that the tables have for them. Each takes a value of a file; None leaves our default."""
