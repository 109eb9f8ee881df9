"""Write a file or folder so that a reader sees all of it or none, whatever is killed meanwhile."""

import errno
import os
import re
import shutil
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from ltx_core.errors import StorageError
from ltx_core.process import process_table

MARK = re.compile(r"(?:(?P<table>[0-9a-f]{8})-)?(?P<pid>\d{1,7})-\d+")
"""Process table, process and thread. Earlier versions named the machine instead, or nothing."""
PARTIAL = ".partial-"
DAY_SECONDS = 24 * 3600.0
"""No writer takes as long without touching its file."""
CLOCK_SECONDS = 2.0
"""File systems and the process table may differ by as much."""


def owner_mark() -> str:
    """A word for file names that no other thread, process, container or machine uses."""
    return f"{_table()}-{os.getpid()}-{threading.get_ident()}"


def is_leftover(path: Path, marked: str) -> bool:
    """Return whether `path` was left by a process that is gone: `marked` begins with its `owner_mark`. A later process
    of the same number started after the file was last written. One of another machine or container, or of this one
    before it was restarted, may be alive until nothing was written for a day."""
    found = MARK.match(marked)
    if found is None:
        return False
    try:
        written = path.lstat().st_mtime
        if found["table"] != _table():
            return time.time() > written + DAY_SECONDS
        return bool(psutil.Process(int(found["pid"])).create_time() > written + CLOCK_SECONDS)
    except psutil.NoSuchProcess:
        return True
    except FileNotFoundError:  # finished or removed meanwhile
        return False


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left anywhere below `folder`, while others may be at work in it. What cannot be
    deleted, such as another user's, stays: it is nobody's input."""
    for where, folders, files in os.walk(folder):
        for name in [name for name in (*folders, *files) if name.startswith(PARTIAL)]:
            path = Path(where, name)
            if is_leftover(path, name.removeprefix(PARTIAL)):
                with suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        folders[:] = [name for name in folders if not name.startswith(PARTIAL)]


def _table() -> str:
    return f"{zlib.crc32(process_table().encode()):08x}"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success flush it to disk and rename it into place.

    The temporary name keeps the suffix, because some writers choose a format by it.

    Raises:
        StorageError: the disk is full or read-only.
    """
    partial = _partial(path)
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            fsync_file(partial)
            partial.replace(path)
            fsync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)  # on a read-only disk an error, even where no such file is


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success flush its files and rename it into place.

    Raises:
        StorageError: the disk is full or read-only.
    """
    partial = _partial(path)
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()
            yield partial
            for file in sorted(p for p in partial.rglob("*") if p.is_file()):
                fsync_file(file)
            partial.rename(path)
            fsync_folder(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace `path` by `data`, whole or not at all; `private`: this user alone may ever read it.

    Raises:
        StorageError: the disk is full or read-only.
    """
    with atomic_path(path) as partial:
        if private:
            partial.touch(0o600)
        partial.write_bytes(data)


def find_whole(folder: Path, pattern: str) -> list[Path]:
    """Return what in `folder` matches a glob pattern, sorted; nothing hidden, and so no partial file of any writer.

    `Path.glob` lets `*.parquet` match `.partial-1-a.parquet`, which a writer at work or a killed one left. So the
    product lists folders by this function alone; a test forbids `glob` elsewhere.
    """
    found = (path for path in folder.glob(pattern) if not _is_hidden(path.relative_to(folder)))
    return sorted(found)


def find_partials(folder: Path) -> list[Path]:
    """Return what writers in `folder` have begun and not finished, or left when they were killed."""
    return sorted([*folder.glob(".partial-*"), *folder.glob(".*.partial")])


def remove_partials(folder: Path) -> int:
    """Delete what killed writers left in `folder`; call only while holding its lock. Returns how many."""
    left = find_partials(folder)
    for item in left:
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
    return len(left)


def is_full_disk(error: OSError) -> bool:
    """Return whether it says that a disk, or the user's quota, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error that says which disk and what to do.

    Raises:
        StorageError: the disk is full or read-only.
    """
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            free = shutil.disk_usage(_existing(path)).free
            raise StorageError(
                f"the disk of {path} is full ({free / 2**20:.1f} MiB free). Finished items are kept: free some space "
                f"(`ltx2-lora gc` says what can go) or set `workspace` to another disk, then run again."
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StorageError(
                f"cannot write {path}: {error.strerror}. Set `workspace` to a folder this user may write."
            ) from error
        raise


def fsync_file(path: Path) -> None:
    """Make a file's bytes survive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def fsync_folder(path: Path) -> None:
    """Make renames in `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _partial(path: Path) -> Path:
    """A name beside `path` that no other thread or process uses."""
    return path.with_name(f"{PARTIAL}{owner_mark()}-{path.name}")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())
