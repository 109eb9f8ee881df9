import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from ltx_core.progress import Silent
from ltx_core.tiny.model import Miniature, write_miniature

Told = list[tuple[int, int, str]]
WriteOnce = Callable[[str, Callable[[Path], object]], Path]


class Counting(Silent):
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.seen: Told = []

    def advance(self, done: int, total: int, unit: str) -> None:
        self.seen.append((done, total, unit))


@pytest.fixture(scope="session")
def _written(written_once: WriteOnce) -> tuple[Miniature, Told]:
    """All of it, written in one test process (some seconds), and what was told meanwhile."""

    def write(folder: Path) -> None:
        progress = Counting()
        made = write_miniature(folder / "demo", progress=progress)
        (folder / "made.pickle").write_bytes(pickle.dumps((made, progress.seen)))

    made: tuple[Miniature, Told] = pickle.loads((written_once("miniature", write) / "made.pickle").read_bytes())
    return made


@pytest.fixture(scope="session")
def miniature(_written: tuple[Miniature, Told]) -> Miniature:
    """Do not change it."""
    return _written[0]


@pytest.fixture(scope="session")
def progress_seen(_written: tuple[Miniature, Told]) -> Told:
    return _written[1]


@pytest.fixture(scope="session")
def corpus_folder(miniature: Miniature) -> Path:
    return miniature.footage
