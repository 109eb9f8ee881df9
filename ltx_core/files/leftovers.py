"""What writers begin bears their mark, so that what a killed one left can be told from what a live one works at."""

import os
import re
import shutil
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path

import psutil

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
    """Whether `path` was left by a process that is gone: `marked` begins with its `owner_mark`. A later process of the
    same number started after the file was last written. One of another machine or container, or of this one before it
    was restarted, may be alive until nothing was written for a day."""
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
