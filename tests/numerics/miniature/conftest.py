from pathlib import Path

import pytest

from ltx_core.miniature.write import Miniature, write_miniature
from ltx_core.progress import Silent


class Counting(Silent):
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, str]] = []

    def advance(self, done: int, total: int, unit: str) -> None:
        self.seen.append((done, total, unit))


@pytest.fixture(scope="session")
def progress_seen() -> Counting:
    """What was told while `miniature` was written."""
    return Counting()


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory, progress_seen: Counting) -> Miniature:
    """All of it, written once: some seconds."""
    return write_miniature(tmp_path_factory.mktemp("miniature") / "demo", progress=progress_seen)


@pytest.fixture(scope="session")
def corpus_folder(miniature: Miniature) -> Path:
    return miniature.footage
