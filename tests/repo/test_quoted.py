"""What pages quote is real: messages are in the source, commands are taken by the command line, options exist."""

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from flows.cli.app import application
from tests.repo.source import ROOT, SOURCES, nodes, tracked_files

TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
LEFT_OUT = "..."
"""Stands for names and numbers in a quoted message."""
TELLING = 10
"""Characters, at least, of the longest part of a quoted message: a shorter one is found by accident."""
HOLE = "\0"
"""Stands for what a message has filled in."""


@cache
def messages() -> tuple[str, ...]:
    """Every text in the source, those with holes as one text with marks."""
    found: list[str] = []
    for source in SOURCES:
        for node in nodes(source):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def quoted(page: Path) -> list[str]:
    """The messages of a page, each a block quote of its own, on one line."""
    blocks = re.findall(r"(?:^> ?.*\n)+", page.read_text(), re.M)
    return [" ".join(re.sub(r"^> ?", "", block, flags=re.M).split()) for block in blocks]


def has_in_order(text: str, parts: list[str]) -> bool:
    """Return whether the parts follow one another in the text."""
    end = 0
    for part in parts:
        start = text.find(part, end)
        if start < 0:
            return False
        end = start + len(part)
    return True


def is_in_the_source(message: str) -> bool:
    """Return whether one text of the source has all parts of a quoted message, in their order."""
    parts = [part.strip() for part in message.split(LEFT_OUT)]
    return len(max(parts, key=len)) >= TELLING and any(has_in_order(text, parts) for text in messages())


def test_every_quoted_message_is_in_the_source() -> None:
    found = quoted(TROUBLESHOOTING)
    assert len(found) > 40
    assert [message for message in found if not is_in_the_source(message)] == []


@pytest.mark.parametrize(
    "message",
    [
        "training needs ... GiB of chocolate, and ... GiB can be had",
        "the disk of ... is filled (... MiB free). Finished items are kept",
        "Finished items are kept ... the disk of ... is full",
        "... of ...",
        "",
    ],
)
def test_a_message_that_nobody_writes_is_found_out(message: str) -> None:
    assert not is_in_the_source(message)


HISTORIES = {Path("CHANGELOG.md"), Path("docs/dev/LOG.md")}
"""Pages about what was."""
PAGES = [path for path in tracked_files() if path.suffix == ".md" and path not in HISTORIES]
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)


def command_lines(text: str) -> Iterator[str]:
    """What a page gives to a shell: the lines of its blocks, and code in its sentences that begins like a command."""
    for language, block in BLOCK.findall(text):
        if language == "bash":
            yield from (line.strip() for line in block.splitlines() if line.strip())
    for span in re.findall(r"`((?:[^`\n]|\n(?!\n))+)`", BLOCK.sub("", text)):
        if re.match(r"(?:\.venv/bin/)?(?:ltx2-lora|make) ", span):
            yield " ".join(span.split())


def check_command(line: str) -> None:
    """See that our own command line takes it, and that other programs of the environment are there.

    Raises:
        Exception: of typer's, for an unknown command or option; AssertionError for a program that is not there.
    """
    words = shlex.split(line, comments=True)
    program = Path(words[0]).name if words else ""
    if program == "ltx2-lora":
        app = application()
        name, command, rest = app.resolve_command(typer.Context(app), words[1:])
        assert command is not None
        if rest:  # a sentence may name a command without all that it takes
            command.make_context(name, list(rest))
    elif program == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), line
    elif program == "python" and words[1] == "-m":
        assert find_spec(words[2]), line
    elif words and words[0].startswith(".venv/bin/"):
        assert (Path(sys.prefix) / "bin" / program).exists(), line


def given_commands() -> list[tuple[str, str]]:
    return [(str(page), line) for page in PAGES for line in dict.fromkeys(command_lines((ROOT / page).read_text()))]


@pytest.mark.whole
def test_every_command_that_a_page_gives_is_taken() -> None:
    found = given_commands()
    assert {"docs/first-lora.md", "docs/troubleshooting.md", "README.md"} <= {page for page, _ in found}
    for _, line in found:
        check_command(line)


@pytest.mark.whole
@pytest.mark.parametrize(
    "line",
    [
        "ltx2-lora plan ltx2-lora.yaml --memory",
        "ltx2-lora fetch",
        ".venv/bin/ltx2-lora configure --goal fun",
        ".venv/bin/no-such-program",
        "make coffee",
        ".venv/bin/python -m no_such_module",
    ],
)
def test_a_command_that_is_not_there_is_found_out(line: str) -> None:
    with pytest.raises((AssertionError, typer.BadParameter.__bases__[0])):
        check_command(line)


SECTIONS = "datasets|model|prompts|memory|limits|tracking|split|embed_text|embed_frames|encode_latents|train_lora"
LATER = "render_validation|register|publish"
GENERATED = {Path("docs/commands.md"), Path("docs/guide.md")}
"""Placeholders, and options of another program, which its own tests hold against its tables."""
OF_A_DATASET = ("audio", "video")


@cache
def options() -> frozenset[str]:
    """Every option, and the sections that options are in."""
    rows = re.findall(r"^\| `([\w.\[\]]+)` \|", (ROOT / "docs" / "config.md").read_text(), re.M)
    parts = (row.split(".") for row in rows)
    return frozenset(".".join(part[:n]).removesuffix("[]") for part in parts for n in range(1, len(part) + 1))


def named_options(text: str) -> Iterator[str]:
    """Options that a page names by their sections, and those that its commands set."""
    spans = re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))
    yield from re.findall(r"--set ([\w.\[\]]+)=", text)
    for span in spans:
        if found := re.match(rf"((?:{SECTIONS}|{LATER})(?:\[\])?(?:\.[\w\[\]]+)+)(?:[=:]|$)", span):
            yield found[1]
        elif found := re.match(rf"((?:{'|'.join(OF_A_DATASET)})\.\w+)(?:[=:]|$)", span):
            yield f"datasets[].{found[1]}"


def unknown_options(text: str) -> list[str]:
    return [name for name in named_options(text) if name.removesuffix("[]") not in options()]


def test_every_option_that_a_page_names_exists() -> None:
    by_hand = [page for page in PAGES if page not in GENERATED]
    found = {str(page): unknown_options((ROOT / page).read_text()) for page in by_hand}
    assert {page: names for page, names in found.items() if names} == {}


@pytest.mark.parametrize("text", ["`train_lora.steeps`", "`audio.loud: true`", "run a.yaml --set memory.gpu=1"])
def test_an_option_that_is_not_there_is_found_out(text: str) -> None:
    assert unknown_options(text)
