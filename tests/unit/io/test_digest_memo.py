"""The memo answers only for the file that it read."""

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from ltx_core.errors import ChangedError
from ltx_core.io import digest as digest_module
from ltx_core.io.digest import DigestMemo, FileState, content_digest, file_digest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"before")
    return path


@pytest.fixture
def memo(tmp_path: Path) -> DigestMemo:
    return DigestMemo(tmp_path / "memo.parquet")


@pytest.fixture
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had been written long before it is read."""
    monkeypatch.setattr(digest_module, "GRANULARITY_NS", -1)


def replaced(path: Path, content: bytes) -> None:
    """Another file under the same name, size and modification time."""
    stat, beside = path.stat(), path.with_name("beside")
    beside.write_bytes(content)
    os.utime(beside, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    beside.replace(path)


@pytest.mark.usefixtures("long_ago")
def test_an_unchanged_file_is_read_once_by_all_processes(file: Path, memo: DigestMemo) -> None:
    found = memo.get(file)
    memo.save()

    def unread(_: BinaryIO) -> str:
        raise AssertionError("it is read again")

    assert memo.get(file, compute=unread) == found == file_digest(file)
    assert DigestMemo(memo.store).get(file, compute=unread) == found


@pytest.mark.usefixtures("long_ago")
@pytest.mark.parametrize("how", ["replaced", "overwritten"])
def test_the_same_size_and_time_do_not_make_it_the_same_file(how: str, file: Path, memo: DigestMemo) -> None:
    before, stat = memo.get(file), file.stat()
    memo.save()
    if how == "replaced":
        replaced(file, b"after!")
    else:
        file.write_bytes(b"after!")
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    for one in (memo, DigestMemo(memo.store)):
        assert one.get(file) == file_digest(file) != before


def test_a_link_to_itself_is_a_file_that_cannot_be_read(tmp_path: Path, memo: DigestMemo) -> None:
    (path := tmp_path / "loop.mp4").symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        memo.get(path)


def test_a_file_that_was_just_written_is_not_remembered(file: Path, memo: DigestMemo) -> None:
    """Another write within one step of the file system's clock would leave no trace in its state."""
    memo.get(file)
    memo.save()
    assert not memo.store.exists()
    calls: list[int] = []

    def counted(opened: BinaryIO) -> str:
        calls.append(1)
        return content_digest(opened)

    memo.get(file, compute=counted)
    assert calls


@pytest.mark.usefixtures("long_ago")
@pytest.mark.parametrize("how", ["grows", "is replaced", "is gone"])
def test_a_file_that_changes_while_it_is_read_has_no_digest(how: str, file: Path, memo: DigestMemo) -> None:
    def changing(opened: BinaryIO) -> str:
        found = content_digest(opened)
        if how == "grows":
            with file.open("ab") as more:
                more.write(b"more")
        else:
            replaced(file, b"after!") if how == "is replaced" else file.unlink()
        return found

    with pytest.raises((ChangedError, FileNotFoundError)):
        memo.get(file, compute=changing)
    memo.save()
    assert not memo.store.exists()


def test_check_knows_what_it_answered_for(file: Path, tmp_path: Path, memo: DigestMemo) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    memo.get(file)
    memo.get(other, watch=False)
    memo.check()
    other.write_bytes(b"changed, and nobody watches")
    memo.check()
    replaced(file, b"before")
    with pytest.raises(ChangedError, match=rf"{file} changed while it was read.*run again"):
        memo.check()
    memo.check(other)
    file.unlink()
    with pytest.raises(ChangedError, match="run again"):
        memo.check(file)


def test_every_part_of_a_state_tells(file: Path) -> None:
    before = FileState.of(file)
    file.chmod(0o600)
    after = FileState.of(file)
    assert before._replace(ctime_ns=0) == after._replace(ctime_ns=0)
    with file.open("rb") as opened:
        assert FileState.of(opened) == after
