"""What writers begin bears their mark, so that what a killed one left can be told from what a live one works at."""

import os
import re
import shutil
import threading
import zlib
from contextlib import suppress
from pathlib import Path

import psutil

MARK = re.compile(r"(?:(?P<host>[0-9a-f]{8})-)?(?P<pid>\d{1,7})-\d+")
"""Machine, process and thread. Earlier versions left out the machine; theirs are taken for this one's."""
PARTIAL = ".partial-"
CLOCK_SECONDS = 2.0
"""File systems and the process table may differ by as much."""


def owner_mark() -> str:
    """A word for file names that no other thread, process or machine uses."""
    return f"{_host()}-{os.getpid()}-{threading.get_ident()}"


def is_leftover(path: Path, marked: str) -> bool:
    """Whether `path` was left by a process that is gone: `marked` begins with its `owner_mark`. One of another machine
    may be alive; a later process of the same number started after the file was last written."""
    found = MARK.match(marked)
    if found is None or (found["host"] or _host()) != _host():
        return False
    try:
        return bool(psutil.Process(int(found["pid"])).create_time() > path.lstat().st_mtime + CLOCK_SECONDS)
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


def _host() -> str:
    return f"{zlib.crc32(os.uname().nodename.encode()):08x}"
