"""A file is one subject that fits in one reading, a function fits in one glance. No exceptions."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.repo.source import ROOT, SOURCES, nodes, tracked_files

MAX_FILE_LINES = 450
MAX_FUNCTION_LINES = 60
TEST_SOURCES = sorted(path for path in tracked_files() if path.parts[0] == "tests" and path.suffix == ".py")


def test_files_fit_in_one_reading() -> None:
    lengths = {str(source): _num_lines(source) for source in [*SOURCES, *TEST_SOURCES]}
    long = {source: lines for source, lines in lengths.items() if lines > MAX_FILE_LINES}
    assert not long, f"a file is one subject; at most {MAX_FILE_LINES} lines"


def test_functions_fit_in_one_glance() -> None:
    """From the first decorator to the last line, docstring counted."""
    long = [
        f"{source}: {name} ({lines} lines)"
        for source in SOURCES
        for name, lines in _functions(source)
        if lines > MAX_FUNCTION_LINES
    ]
    assert not long


def _num_lines(source: Path) -> int:
    return len((ROOT / source).read_text().splitlines())


def _functions(source: Path) -> Iterator[tuple[str, int]]:
    for node in nodes(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield node.name, (node.end_lineno or node.lineno) - first + 1
