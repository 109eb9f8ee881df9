"""What is known of one option of the guide, and the configuration that is being made from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

NOT_BUILT = "not built yet"
"""How the table says that something of the guide is missing."""


class Refused(Exception):
    """A value that cannot be taken; the text says what is wanted instead."""


@dataclass
class Draft:
    """Our configuration as far as it is made, and what is to be said of it."""

    flat: Mapping[str, Any]
    """All options of the file by name, without leading dashes; for options that depend on another."""
    values: dict[str, Any] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def set(self, dotted: str, value: Any) -> None:
        """Set an option of ours by its dotted name."""
        *way, last = dotted.split(".")
        here = self.values
        for name in way:
            here = here.setdefault(name, {})
        here[last] = value

    def get(self, dotted: str) -> Any:
        """What was set, or None."""
        here: Any = self.values
        for name in dotted.split("."):
            here = here.get(name) if isinstance(here, dict) else None
        return here

    def notice(self, key: str, text: str) -> None:
        """Tell what is done differently; once."""
        line = f"{key}: {text}"
        if line not in self.notices:
            self.notices.append(line)


Take = Callable[[Draft, str, Any], None]
"""Takes a value of the option by that name into the draft. Raises `Refused`."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """A row of the table: an option of the guide's files."""

    key: str
    """Its name; of options inside a section, with a dot."""
    take: Take
    does: str
    """What it does here."""
    differs: str
    """What differs from the guide's program, and why; `nothing`, if so."""
    test: str
    """`path::function` of a test that holds it."""


@dataclass(frozen=True, kw_only=True)
class Tip:
    """A row of the table: a feature, a step or a piece of advice of the guide."""

    what: str
    does: str
    differs: str
    test: str
