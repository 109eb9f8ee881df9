"""Processes that a test looks for, where others come and go."""

import time

import psutil
import torch

SECONDS = 60.0
"""Until a test gives up; what it waits for has been started, and takes a moment on an idle machine."""


def children_of(parent: psutil.Process, module: str, *, number: int = 1) -> list[psutil.Process]:
    """The `number` children that run a module, once there are so many."""
    deadline = time.monotonic() + SECONDS
    while len(found := [child for child in parent.children() if module in _words(child)]) != number:
        assert time.monotonic() < deadline, f"{number} of {module} awaited, there are {found}"
        time.sleep(0.05)
    return found


def _words(process: psutil.Process) -> list[str]:
    """Its command line; nothing of one that ended meanwhile, such as a compiler's."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def make_threads_anew() -> None:
    """First thing in a forked child: PyTorch makes its pool of threads anew when one is asked for, and two threads that
    ask at once, such as the one that trains and the one that loads ahead, break it ("Invalid thread pool!")."""
    torch.set_num_threads(1)
