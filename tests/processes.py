"""Processes that a test looks for, where others come and go."""

import ctypes
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import psutil

from tasks.runtime.fork_server import NAME

SECONDS = 60.0
"""Until a test gives up; what it waits for has been started, and takes a moment on an idle machine."""


def children_of(parent: psutil.Process, module: str, *, number: int = 1) -> list[psutil.Process]:
    """The `number` children that run a module, once there are so many."""
    return _awaited(lambda: [child for child in parent.children() if _runs(child, module)], number, module)


def stage_process(run: psutil.Process) -> psutil.Process:
    """The process of a stage that `run` has launched, once there is one."""
    (found,) = _awaited(lambda: stage_processes(run), 1, "a stage's process")
    return found


def stage_processes(run: psutil.Process) -> list[psutil.Process]:
    """Those that there are now."""
    return [child for child in run.children(recursive=True) if _name(child).startswith(NAME)]


def _awaited(found: Callable[[], list[psutil.Process]], number: int, what: str) -> list[psutil.Process]:
    deadline = time.monotonic() + SECONDS
    while len(processes := found()) != number:
        assert time.monotonic() < deadline, f"{number} of {what} awaited, there are {processes}"
        time.sleep(0.05)
    return processes


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _runs(process: psutil.Process, module: str) -> bool:
    """By its command line, or by the name of a fork; one that ended meanwhile, such as a compiler's, runs nothing."""
    try:
        return module in process.cmdline() or process.name() == module[-LONGEST_NAME:]
    except psutil.NoSuchProcess:
        return False


def make_threads_anew() -> None:
    """First thing in a forked child: PyTorch makes its pool of threads anew when one is asked for, and two threads that
    ask at once, such as the one that trains and the one that loads ahead, break it ("Invalid thread pool!")."""
    import torch

    from ltx_core.media import workers

    torch.set_num_threads(1)
    workers._idle.clear()  # of the process that forked, as is the thread that starts workers
    workers._starter = ThreadPoolExecutor(1)


FORKED = ("tasks.runtime.fork_server", "tasks.runtime.ranks")
"""Modules that `Forked` runs; any other command is started as ever."""
PR_SET_NAME = 15
LONGEST_NAME = 15


class Forked(subprocess.Popen[bytes]):
    """`subprocess.Popen` of `python -m MODULE`, as a fork of this process, which has loaded torch already. What is
    patched here is patched there, and in the processes of stages.

    That a stage's process does what it has to if it is started as it is for a user: tests/stages/test_child.py.
    """

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, *rest: Any) -> None:
        words = [str(word) for word in args] if isinstance(args, list | tuple) else []
        module = words[words.index("-m") + 1] if "-m" in words else ""
        if module not in FORKED:
            super()._execute_child(args, executable, preexec_fn, close_fds, *rest)  # type: ignore[misc]  # not public
            return
        _, _, env, _, _, _, read_0, write_0, read_1, write_1, read_2, write_2, _, _, _, _, _, new_session, _ = rest
        theirs, ours = (read_0, write_1, write_2), (write_0, read_1, read_2)
        self.pid = os.fork()
        if self.pid == 0:
            for end in set(ours) - {-1}:
                os.close(end)
            _become(words[words.index(module) :], env, theirs, new_session)
        self._child_created = True
        devnull = getattr(self, "_devnull", None)
        for end in {t for t, o in zip(theirs, ours, strict=True) if o != -1 and t != devnull} | ({devnull} - {None}):
            os.close(end)
        self._closed_child_pipe_fds = True


def _become(words: list[str], env: Any, streams: tuple[int, int, int], new_session: bool) -> NoReturn:
    """In the fork: take these words, variables and streams, run the module, and end."""
    code = 1
    try:
        if new_session:
            os.setsid()
        for handle in Path("/proc/self/fd").iterdir():  # a program that is started has none of these either
            if handle.is_socket() and int(handle.name) not in streams:
                os.close(int(handle.name))
        for number, given in enumerate(streams):
            if given != -1:
                os.dup2(given, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        ctypes.CDLL(None).prctl(PR_SET_NAME, words[0][-LONGEST_NAME:].encode())
        make_threads_anew()
        sys.argv = words
        import_module(words[0]).main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - the process boundary
        traceback.print_exc()
    finally:
        os._exit(code)
