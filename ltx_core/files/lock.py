"""Locks that the kernel frees when their holder dies, however it dies."""

import fcntl
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ltx_core.errors import Stopped
from ltx_core.files.atomic import storage_errors
from ltx_core.files.holder import UNKNOWN, named_holder, read_holder
from ltx_core.progress import Progress

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
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        wait_for(
            lambda: True if taken(handle) else None,
            lambda: f"waiting for {folder}: {read_holder(handle) or UNKNOWN} works in it",
            progress,
        )
        with named_holder(handle, doing or shlex.join(sys.orig_argv)):
            yield
    finally:
        os.close(handle)  # closing frees the lock


def taken(handle: int) -> bool:
    """Take the lock of an open file, unless another holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
