"""Weights are known by the BLAKE3 of their bytes, by whatever threads and in whatever pieces they are read."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from ltx_core.errors import ChangedError
from ltx_core.io import digest as digest_module
from ltx_core.io.digest import DIGEST_LENGTH, DigestMemo, file_digest, weights_digest
from ltx_core.progress import Silent
from tests.processes import make_threads_anew

SIZE = 10_000


class Told(Silent):
    """Progress that remembers, and may do something."""

    def __init__(self, then: Any = None) -> None:
        self.told: list[tuple[int, int, str]] = []
        self._then = then

    def advance(self, done: int, total: int, unit: str) -> None:
        self.told.append((done, total, unit))
        if self._then is not None:
            self._then()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(bytes(number * 37 % 251 for number in range(SIZE)))
    return path


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As weights of gigabytes are read."""
    small = {"PIECE_BYTES": 999, "WORTH_THREADS": 0, "SHOWN_BYTES": 0, "SHOWN_STEP": 0, "MIB": 1}
    for name, value in small.items():
        monkeypatch.setattr(digest_module, name, value)


def found(path: Path, *arguments: Any, **options: Any) -> str:
    with path.open("rb") as opened:
        return weights_digest(path, opened, *arguments, **options)


def wanted(data: bytes) -> str:
    return blake3(data).hexdigest()[:DIGEST_LENGTH]


def test_it_is_the_blake3_of_the_bytes(file: Path) -> None:
    data = file.read_bytes()
    assert found(file) == wanted(data)
    assert found(file, [(5000, 9000), (0, 0), (10, 11)], head=b"names") == wanted(
        b"names" + data[5000:9000] + data[10:11]
    )
    assert found(file, []) == wanted(b"")


@pytest.mark.usefixtures("small_pieces")
def test_pieces_threads_and_forks_change_nothing(file: Path) -> None:
    data = file.read_bytes()
    spans = [(5000, 9000), (0, 999), (998, 3000)]
    assert found(file) == wanted(data)
    assert found(file, spans) == wanted(b"".join(data[begin:end] for begin, end in spans))
    fork = multiprocessing.get_context("fork")
    said = fork.Queue()

    def child() -> None:
        make_threads_anew()
        said.put(found(file))

    process = fork.Process(target=child)
    process.start()
    assert said.get(timeout=60) == wanted(data), "threads of the process that was forked are not there"
    process.join(60)


@pytest.mark.usefixtures("small_pieces")
def test_who_waits_is_told_how_far_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Told()
    found(file, [(0, 500), (500, 2500)], progress=progress)
    assert progress.told == [(done, 2500, "MiB of weights.safetensors") for done in (500, 1499, 2498, 2500)]
    monkeypatch.setattr(digest_module, "SHOWN_STEP", 1000)
    progress.told.clear()
    found(file, [(0, 500), (500, 2500)], progress=progress)
    assert [done for done, *_ in progress.told] == [1499, 2500]


def test_small_files_are_read_in_silence(file: Path) -> None:
    progress = Told()
    found(file, progress=progress)
    assert not progress.told


@pytest.mark.usefixtures("small_pieces")
def test_a_file_that_is_cut_while_it_is_read_has_no_digest(file: Path, tmp_path: Path) -> None:
    def cut() -> None:
        file.open("r+b").truncate(3000)

    with pytest.raises(ChangedError, match=r"weights\.safetensors changed while it was read.*run again"):
        found(file, progress=Told(cut))
    memo = DigestMemo(tmp_path / "memo", Told(lambda: file.open("ab").write(b"more")))
    with pytest.raises(ChangedError, match=r"weights\.safetensors changed while it was read"):
        memo.of_weights(file)


def test_a_memo_of_sha256_says_nothing_of_weights(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was known of a file and however it lies there: the same bytes have one name."""
    monkeypatch.setattr(digest_module, "GRANULARITY_NS", -1)  # as if it had been written long ago
    memo = DigestMemo(tmp_path / "memo")
    assert memo.get(file) == file_digest(file)
    assert memo.of_weights(file) == wanted(file.read_bytes()) != memo.get(file)
    memo.save()
    again = DigestMemo(memo.store)
    monkeypatch.setattr(digest_module, "weights_digest", lambda *_, **__: pytest.fail("it is read again"))
    assert again.of_weights(file) == memo.of_weights(file)
    assert again.get(file) == memo.get(file)
