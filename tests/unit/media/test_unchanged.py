"""Footage that changes while it is read: nothing but that is told of it, and no fault of the moment is of content."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets_spec import QuarantineReason
from ltx_core.errors import TransientError
from ltx_core.io.digest import DigestMemo, file_digest
from ltx_core.media.errors import MediaError
from ltx_core.media.workers import TRIES, read_unchanged

BEFORE, AFTER = b"before", b"after!"
Read = Callable[[], bytes]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(BEFORE)
    return path


@pytest.fixture
def memo(tmp_path: Path) -> DigestMemo:
    return DigestMemo(tmp_path / "memo.parquet")


def replaced(path: Path, content: bytes) -> None:
    """As by a tool that writes beside and renames, and keeps the time."""
    stat = path.stat()
    beside = path.with_name("beside")
    beside.write_bytes(content)
    os.utime(beside, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    beside.replace(path)


def reading(path: Path, *events: Callable[[], object]) -> tuple[Read, list[int]]:
    """Reads the file; the first time after the first event, the next time after the next."""
    calls: list[int] = []

    def read() -> bytes:
        calls.append(len(calls))
        if len(calls) <= len(events):
            events[len(calls) - 1]()
        if not path.exists():
            raise MediaError(QuarantineReason.UNREADABLE, "away")
        return path.read_bytes()

    return read, calls


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def test_what_stays_is_read_once(file: Path, memo: DigestMemo) -> None:
    read, calls = reading(file)
    assert read_unchanged({file: file_digest(file)}, memo, read) == BEFORE
    assert len(calls) == 1


def test_other_bytes_are_not_read_at_all(file: Path, memo: DigestMemo) -> None:
    file.write_bytes(AFTER)
    read, calls = reading(file)
    assert reason(file, memo, read) is QuarantineReason.CHANGED
    assert not calls


def test_the_same_bytes_under_another_time_are_the_same(file: Path, memo: DigestMemo) -> None:
    memo.get(file)
    os.utime(file, ns=(1, 1))
    assert read_unchanged({file: digest_of(BEFORE)}, memo, reading(file)[0]) == BEFORE


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(AFTER),
        lambda path: replaced(path, AFTER),
        lambda path: path.write_bytes(BEFORE + AFTER),
        lambda path: os.truncate(path, 3),
    ],
    ids=["overwritten", "replaced, same size and time", "growing", "cut"],
)
def test_what_changes_while_it_is_read_is_set_aside(
    change: Callable[[Path], object], file: Path, memo: DigestMemo
) -> None:
    assert reason(file, memo, reading(file, lambda: change(file))[0]) is QuarantineReason.CHANGED


def test_another_file_for_a_moment_is_noticed_and_the_right_one_read(file: Path, memo: DigestMemo) -> None:
    """A, then B while it is read, then A again: what was read first was B."""
    seen: list[bytes] = []

    def read() -> bytes:
        if not seen:
            replaced(file, AFTER)
        seen.append(file.read_bytes())
        if len(seen) == 1:
            replaced(file, BEFORE)
        return seen[-1]

    assert read_unchanged({file: digest_of(BEFORE)}, memo, read) == BEFORE
    assert seen == [AFTER, BEFORE]


def test_a_link_that_leads_elsewhere_for_a_moment_is_noticed(tmp_path: Path, memo: DigestMemo) -> None:
    for name, content in (("a", BEFORE), ("b", AFTER)):
        (tmp_path / name).write_bytes(content)
    link, seen = tmp_path / "link.mp4", list[bytes]()
    link.symlink_to("a")

    def lead(name: str) -> None:
        link.unlink()
        link.symlink_to(name)

    def read() -> bytes:
        lead("a" if seen else "b")
        seen.append(link.read_bytes())
        lead("a")
        return seen[-1]

    assert reason(link, memo, read) is QuarantineReason.CHANGED, "it is led about at every try"
    assert seen == [AFTER, BEFORE]


def test_what_goes_on_changing_is_given_up(file: Path, memo: DigestMemo) -> None:
    read, calls = reading(file, *[lambda: replaced(file, BEFORE)] * 9)
    assert reason(file, memo, read) is QuarantineReason.CHANGED
    assert len(calls) == TRIES


def test_a_file_away_for_a_moment_is_read_again(file: Path, memo: DigestMemo) -> None:
    aside = file.with_name("aside")

    def read() -> bytes:
        if not calls:
            calls.append(1)
            file.rename(aside)
            try:
                raise MediaError(QuarantineReason.UNREADABLE, "away")
            finally:
                aside.rename(file)
        return file.read_bytes()

    calls: list[int] = []
    assert read_unchanged({file: digest_of(BEFORE)}, memo, read) == BEFORE


def test_a_file_that_stays_away_is_unreadable_now(file: Path, memo: DigestMemo) -> None:
    assert reason(file, memo, reading(file, file.unlink)[0]) is QuarantineReason.UNREADABLE


def test_trouble_that_passes_is_tried_again_and_is_never_a_verdict_on_content(file: Path, memo: DigestMemo) -> None:
    calls: list[int] = []

    def read() -> bytes:
        calls.append(1)
        raise TransientError("the file system hiccups")

    assert reason(file, memo, read) is QuarantineReason.UNREADABLE
    assert len(calls) == TRIES


@pytest.mark.parametrize("doubtful", [False, True], ids=["an error", "a result"])
def test_bad_news_from_a_disk_that_fails_is_not_believed(
    doubtful: bool, file: Path, tmp_path: Path, memo: DigestMemo
) -> None:
    """The file becomes one whose reading fails with EIO, which ffmpeg tells as it tells of damaged content."""
    failing = tmp_path / "failing.mp4"
    failing.symlink_to(file)

    def read() -> bytes:
        failing.unlink()
        failing.symlink_to("/proc/self/mem")
        if doubtful:
            return b"broken"
        raise MediaError(QuarantineReason.DECODE_ERROR, "Input/output error")

    with pytest.raises(MediaError, match="cannot be read: Input/output error") as caught:
        read_unchanged({failing: digest_of(BEFORE)}, memo, read, lambda made: made == b"broken")
    assert caught.value.reason is QuarantineReason.UNREADABLE


def test_bad_news_of_whole_bytes_stands(file: Path, memo: DigestMemo) -> None:
    def read() -> bytes:
        raise MediaError(QuarantineReason.TRUNCATED, "cut off")

    assert reason(file, memo, read) is QuarantineReason.TRUNCATED


def reason(file: Path, memo: DigestMemo, read: Read) -> QuarantineReason:
    with pytest.raises(MediaError) as caught:
        read_unchanged({file: digest_of(BEFORE)}, memo, read)
    return caught.value.reason
