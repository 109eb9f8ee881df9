"""Tables and facts: values as people read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ltx_core.errors import ShapeError
from ltx_core.gallery.html import Html, element, escaped

Tone = Literal["good", "warn", "bad", "plain"]


@dataclass(frozen=True)
class Link:
    """A cell that leads somewhere. Only relative addresses and http(s) are followed."""

    text: str
    href: str


@dataclass(frozen=True)
class Badge:
    """A short state in a coloured pill, such as `Built` or `Reused`."""

    text: str
    tone: Tone = "plain"


Cell = str | int | float | None | Link | Badge


@dataclass(frozen=True)
class Section:
    """One titled part of a page."""

    title: str
    body: Html
    note: str = ""
    """One line under the title."""


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], *, empty: str = "Nothing here.") -> Html:
    """A table; columns of numbers are set to the right.

    Args:
        headers: one a column.
        rows: cells of each row.
        empty: said instead when there are no rows.

    Raises:
        ShapeError: a row has more or fewer cells than there are headers.
    """
    if wrong := next((row for row in rows if len(row) != len(headers)), None):
        raise ShapeError(f"table row has {len(wrong)} cells for {len(headers)} headers: {wrong}")
    if not rows:
        return element("p", escaped(empty), attributes={"class": "empty"})
    numeric = [
        all(isinstance(cell, int | float) or cell is None for cell in column) for column in zip(*rows, strict=True)
    ]
    head = [_table_cell("th", escaped(name), right) for name, right in zip(headers, numeric, strict=True)]
    body = [
        element("tr", *(_table_cell("td", cell_html(cell), right) for cell, right in zip(row, numeric, strict=True)))
        for row in rows
    ]
    inner = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", inner, attributes={"class": "scroll"})


def fact_list(facts: Mapping[str, Cell]) -> Html:
    """Names with their values, in the order given."""
    pairs = [
        element("div", element("dt", escaped(name)), element("dd", cell_html(value))) for name, value in facts.items()
    ]
    return element("dl", *pairs, attributes={"class": "facts"})


def cell_html(cell: Cell) -> Html:
    """One value as markup.

    Raises:
        ValueError: a link leads to something other than a relative address or http(s).
    """
    if isinstance(cell, Link):
        scheme = cell.href.partition(":")[0] if ":" in cell.href.split("/", 1)[0] else ""
        if scheme.lower() not in ("", "http", "https"):
            raise ValueError(f"link {cell.text!r} leads to {cell.href!r}; use a relative address or http(s)")
        return element("a", escaped(cell.text), attributes={"href": cell.href})
    if isinstance(cell, Badge):
        return element("span", escaped(cell.text), attributes={"class": f"badge {cell.tone}"})
    return escaped(readable(cell))


def readable(value: str | int | float | None) -> str:
    """Numbers with thousands separated and four significant digits; nothing as a dash."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:,.4g}"
    return value


def _table_cell(tag: str, content: Html, right: bool) -> Html:
    return element(tag, content, attributes={"class": "number"} if right else None)
