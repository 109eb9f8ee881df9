"""Whole pages: a render gallery, and a run report. One file each, nothing loaded from outside but the videos."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ltx_core.files.atomic import write_bytes
from ltx_core.gallery.cells import Cell, Section, fact_list
from ltx_core.gallery.html import Html, element, escaped
from ltx_core.gallery.renders import PromptRow, render_rows
from ltx_core.gallery.style import SCRIPT, STYLE


def gallery(
    path: Path, title: str, facts: Mapping[str, Cell], rows: Sequence[PromptRow], sections: Sequence[Section] = ()
) -> None:
    """Write a page of renders side by side.

    Args:
        path: the HTML file.
        title: what was rendered.
        facts: of the run, shown above all.
        rows: one for each prompt.
        sections: shown between the facts and the renders, such as the eval loss curve.

    Raises:
        DataError: a video does not exist.
        StorageError: the disk is full or read-only.
    """
    run_report(path, title, facts, [*sections, Section("Renders", render_rows(rows, path))])


def run_report(path: Path, title: str, facts: Mapping[str, Cell], sections: Sequence[Section]) -> None:
    """Write a page of facts and titled sections, whole or not at all.

    Raises:
        StorageError: the disk is full or read-only.
    """
    write_bytes(path, document(title, facts, sections).encode())


def document(title: str, facts: Mapping[str, Cell], sections: Sequence[Section]) -> Html:
    """The page's markup. Same input, same bytes: no clock, no random ids."""
    head = element(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", escaped(title)),
        element("style", Html(STYLE)),
    )
    top = element("header", element("h1", escaped(title)), fact_list(facts), attributes={"class": "top"})
    body = element("main", top, *(_section(section) for section in sections))
    page = element("html", head, element("body", body, element("script", Html(SCRIPT))), attributes={"lang": "en"})
    return Html(f"<!doctype html>\n{page}\n")


def _section(section: Section) -> Html:
    note = element("p", escaped(section.note), attributes={"class": "note"}) if section.note else Html("")
    return element("section", element("h2", escaped(section.title)), note, section.body)
