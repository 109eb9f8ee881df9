"""Pages that name one another, and the code that names pages."""

import re
from pathlib import Path

from tests.repo.source import ROOT, SOURCES, tracked_files

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [path for path in tracked_files() if path.suffix == ".md"]
MOST_LINES = 16
"""A decision is read in a minute."""


def test_every_decision_is_named_by_the_code_it_is_about() -> None:
    code = "".join((ROOT / source).read_text() for source in SOURCES)
    unnamed = [page.name for page in DECISIONS if f"docs/decisions/{page.name}" not in code]
    assert DECISIONS
    assert not unnamed


def test_decisions_are_short() -> None:
    long = {page.name: lines for page in DECISIONS if (lines := len(page.read_text().splitlines())) > MOST_LINES}
    assert not long


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    own = [path.relative_to("docs") for path in PAGES if path.parts[0] == "docs" and path.parts[1] != "decisions"]
    assert [path.as_posix() for path in own if path.name != "README.md" and f"({path.as_posix()})" not in index] == []


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text())
        if "://" not in link and not (ROOT / page.parent / link).exists()
    ]
    assert not broken


def test_pages_that_code_names_are_there() -> None:
    named = re.compile(r"\bdocs/[\w/]+\.md\b")
    missing = [
        f"{path}: {page}"
        for path in [*map(Path, SOURCES), *PAGES]
        for page in named.findall((ROOT / path).read_text())
        if not (ROOT / page).exists()
    ]
    assert not missing


def test_code_that_pages_name_is_there() -> None:
    """A page names the file that has the answer; when that is moved, the page is too. What was is left as it was."""
    named = re.compile(r"`((?:flows|tasks|ltx_core|datasets_spec|tests|scripts|benchmarks)/[\w/.]+)")
    histories = {Path("CHANGELOG.md"), Path("docs/dev/LOG.md")}
    missing = [
        f"{page}: {place}"
        for page in PAGES
        if page not in histories
        for place in named.findall((ROOT / page).read_text())
        if "NAME" not in place and not (ROOT / place.rstrip(".")).exists()
    ]
    assert not missing
