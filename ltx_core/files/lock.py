"""Locks that the kernel frees when their holder dies, however it dies."""

import fcntl
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from ltx_core.errors import Stopped
from ltx_core.files.atomic import storage_errors
from ltx_core.files.holder import UNKNOWN, named_holder, read_holder
from ltx_core.progress import Progress

LOCK_FILE = ".lock"
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 0.5
"""A wait that is shorter is not worth a word; and a holder has written by then who it is."""
T = TypeVar("T")


@contextmanager
def folder_lock(folder: Path, progress: Progress, doing: str | None = None) -> Iterator[None]:
    """Hold `folder` for this process alone, waiting for whoever holds it, who is named. `doing` is what others who wait
    are told of this process; its command line if None.

    Raises:
        Stopped: asked to stop while waiting.
        StorageError: the folder cannot be written.
    """
    while True:
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            wait_for(
                lambda: True if taken(handle) else None,  # noqa: B023 - called in this round only
                lambda: f"waiting for {folder}: {read_holder(handle) or UNKNOWN} works in it",  # noqa: B023 - as above
                progress,
            )
            if not _is_of(handle, folder):
                continue  # whoever held the folder has deleted it
            with named_holder(handle, doing or shlex.join(sys.orig_argv)):
                yield
            return
        finally:
            os.close(handle)  # closing frees the lock


@contextmanager
def try_folder_lock(folder: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold `folder` if nobody does, and say whether that is so; `shared`: together with others who hold it so.

    It is not so either where its lock cannot be made: then it is another user's, or the disk has no room even for that.
    """
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        yield False
        return
    try:
        if not (taken(handle, shared=shared) and _is_of(handle, folder)):
            yield False
            return
        with nullcontext() if shared else named_holder(handle, shlex.join(sys.orig_argv)):
            yield True
    finally:
        os.close(handle)


def _is_of(handle: int, folder: Path) -> bool:
    """Whether an open lock file is the folder's own, and not that of a deleted folder of its name."""
    try:
        return os.path.samestat(os.fstat(handle), (folder / LOCK_FILE).stat())
    except FileNotFoundError:
        return False


def taken(handle: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file, unless another holds it."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for(attempt: Callable[[], T | None], why: Callable[[], str], progress: Progress) -> T:
    """What `attempt` gives, once it gives something. Says why it takes longer, and again when that becomes another.

    Raises:
        Stopped: asked to stop meanwhile.
    """
    began, told = time.monotonic(), ""
    while (got := attempt()) is None:
        if progress.stopping:
            raise Stopped(f"stopped while {why()}")
        if time.monotonic() - began >= PATIENCE_SECONDS and (reason := why()) != told:
            progress.note(reason)
            told = reason
        time.sleep(POLL_SECONDS)
    return got
