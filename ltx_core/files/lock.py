"""Locks that the kernel frees when their holder dies, however it dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ltx_core.errors import Stopped
from ltx_core.files.atomic import storage_errors
from ltx_core.progress import Progress

POLL_SECONDS = 0.2


@contextmanager
def folder_lock(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold `folder` for this process alone, waiting for whoever holds it.

    Raises:
        Stopped: asked to stop while waiting.
        StorageError: the folder cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait(handle, folder, progress)
        yield
    finally:
        os.close(handle)  # closing frees the lock


def _wait(handle: int, folder: Path, progress: Progress) -> None:
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                progress.note(f"waiting: another process works in {folder}")
                told = True
        if progress.stopping:
            raise Stopped(f"stopped while waiting for {folder}")
        time.sleep(POLL_SECONDS)
