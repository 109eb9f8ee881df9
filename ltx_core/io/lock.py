"""Locks that the kernel frees when their holder dies, however it dies.

The kernel's lock alone says whether it is held. The text explains, to whoever waits: one that a killed process left
means nothing, so only one that waits reads it.

Why so: docs/decisions/locks.md.
"""

import fcntl
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from ltx_core.errors import Stopped
from ltx_core.io.atomic import storage_errors
from ltx_core.process import ProcessRecord
from ltx_core.progress import Progress

MAX_BYTES = 4096
"""More is no text of ours. On a machine of several users any of them may have written it."""
UNKNOWN = "a process that left no word"


@dataclass(frozen=True)
class Holder:
    """A process, what it does while it holds the lock, and since when, in seconds since the epoch."""

    process: ProcessRecord
    doing: str
    since: float

    def __str__(self) -> str:
        """Such as `process 1234 (train_lora in /data/workspace) since 14:03:07`."""
        where = "" if self.process.is_here else f" on {self.process.host}"
        began = datetime.fromtimestamp(self.since)
        day = "" if began.date() == datetime.now().date() else f"{began:%Y-%m-%d} "
        return f"process {self.process.pid}{where} ({self.doing}) since {day}{began:%H:%M:%S}"


@contextmanager
def named_holder(handle: int, doing: str) -> Iterator[None]:
    """Say in a lock's file that this process holds it while the block runs.

    Where the file cannot be written, those who wait read of no one: a full disk, or a file of another user, is no
    reason not to work, and `ltx2-lora gc` takes locks to make room.
    """
    text = json.dumps(asdict(Holder(ProcessRecord.own(), doing, time.time()))).encode()
    with suppress(OSError):
        os.pwrite(handle, text, 0)
        os.ftruncate(handle, len(text))
    try:
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(handle, 0)


def read_holder(handle: int) -> Holder | None:
    """Return what the file says of a lock that is held; None if that is nothing, or of a process that is gone: then the
    holder has not written yet."""
    try:
        values = json.loads(os.pread(handle, MAX_BYTES, 0))
        process = ProcessRecord.of(values["process"])
        doing = "".join(character for character in str(values["doing"]) if character.isprintable())
        holder = Holder(process, doing, float(values["since"]))
    except (ValueError, KeyError, TypeError):
        return None
    return None if process.is_gone() else holder


LOCK_FILE = ".lock"
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 0.5
"""A wait that is shorter is not worth a word; and a holder has written by then who it is."""
T = TypeVar("T")


@contextmanager
def folder_lock(folder: Path, progress: Progress, doing: str | None = None) -> Iterator[None]:
    """Hold `folder` for this process alone, waiting for whoever holds it, who is named. `doing` is what others who wait
    read of this process; its command line if None.

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
    """Return whether an open lock file is the folder's own, and not that of a deleted folder of its name."""
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
    """Return what `attempt` gives, once it gives something. Says why it takes longer, and again when that becomes
    another.

    Raises:
        Stopped: asked to stop meanwhile.
    """
    began, noted = time.monotonic(), ""
    while (got := attempt()) is None:
        if progress.stopping:
            raise Stopped(f"stopped while {why()}")
        if time.monotonic() - began >= PATIENCE_SECONDS and (reason := why()) != noted:
            progress.note(reason)
            noted = reason
        time.sleep(POLL_SECONDS)
    return got
