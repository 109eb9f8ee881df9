"""How values of the guide's options are read and where they go. Its files write numbers and switches as text, too."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from flows.guide.option import NOT_BUILT, Draft, Refused, Take

Parse = Callable[[Any], Any]
ON = {"true", "yes", "on", "1"}
OFF = {"false", "no", "off", "0", "", "none"}


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


def whole(value: Any) -> int:
    """A whole number.

    Raises:
        Refused: it is none.
    """
    found = number(value)
    if found != int(found):
        raise Refused(f"is {value!r}; a whole number is wanted")
    return int(found)


def text(value: Any) -> str:
    """Text that is not empty.

    Raises:
        Refused: it is none.
    """
    if not isinstance(value, str) or not value.strip():
        raise Refused(f"is {value!r}; text is wanted")
    return value


def to(*dotted: str, parse: Parse = text) -> Take:
    """The value goes to these options of ours."""

    def take(draft: Draft, _key: str, value: Any) -> None:
        found = parse(value)
        for name in dotted:
            draft.set(name, found)

    return take


def switch(dotted: str, *, on: Any, off: Any = None) -> Take:
    """`on` goes to our option if the value is true, `off` if it is false; None leaves our default."""

    def take(draft: Draft, _key: str, value: Any) -> None:
        chosen = on if flag(value) else off
        if chosen is not None:
            draft.set(dotted, chosen)

    return take


def choice(dotted: str, names: Mapping[str, Any]) -> Take:
    """One of their names stands for one of ours.

    The take raises `Refused` for another name and lists those there are.
    """

    def take(draft: Draft, _key: str, value: Any) -> None:
        if str(value) not in names:
            raise Refused(f"is {value!r}; here there are {', '.join(names)}")
        draft.set(dotted, names[str(value)])

    return take


def only(*wanted: Any, refusal: str) -> Take:
    """No other value than these has a meaning here."""

    def take(_draft: Draft, _key: str, value: Any) -> None:
        if value not in wanted:
            raise Refused(f"is {value!r}; {refusal}")

    return take


def told(line: str, *, unless: tuple[Any, ...] = ()) -> Take:
    """Accepted, changes nothing, and this is told; not of values that ask for what is done anyway."""

    def take(draft: Draft, key: str, value: Any) -> None:
        if value not in unless:
            draft.notice(key, line)

    return take


def accepted(_draft: Draft, _key: str, _value: Any) -> None:
    """What it asks for is always so."""


def not_built(instead: str) -> Take:
    """Off is taken; on is refused: the method does not exist here."""

    def take(_draft: Draft, _key: str, value: Any) -> None:
        if value not in (None, False, 0, 0.0, "", "false", "0", "none"):
            raise Refused(f"is {value!r}, and that is {NOT_BUILT}; {instead}")

    return take
