"""A file system of a few MiB, and what fills it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, *, mib: int) -> Iterator[Path]:
    """A file system of its own at `folder`; the test is skipped where no one may mount."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(path: Path, *, leave: int) -> None:
    """Write zeros to `path` until the file system has no more than `leave` bytes left."""
    free = shutil.disk_usage(path.parent).free
    path.write_bytes(b"\0" * max(free - leave, 0))
