"""Processes beside a stage's own, which compile what it will run while it reads weights or compares precisions.

Compiling a block is half a minute of Python on one core, in which the GPU has nothing to do, and Python runs one thread
at a time. So the process of a stage that says so forks `Stage.num_spares` of itself at its very start, before it has
started a thread or touched the GPU, neither of which outlasts a fork. A spare process sleeps until it is given work,
sees the GPUs that the stage has, and leaves what it compiled in PyTorch's cache in the workspace, where the stage finds
it. It writes nothing else, and nothing depends on it: where it fails, its message is in the stage's log and the stage
compiles for itself. The kernel ends it with the stage's process.

Why so: docs/decisions/spare_processes.md.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ltx_core.progress import Progress, stop_if_asked
from tasks.runtime.device import VISIBLE
from tasks.runtime.stage import StageRun

Work = Callable[[StageRun[Any], Mapping[str, Any]], None]
"""Is given the stage's run, and what the stage says beside it."""
POLL_SECONDS = 0.05


class Spare:
    """A process that waits for work."""

    def __init__(self, request: Path) -> None:
        """Fork it, for the stage of that request."""
        reading, self._writing = os.pipe()
        parent = os.getpid()
        self._is_working = False
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._writing)
            _serve(request, reading, parent)
        os.close(reading)

    def start(self, module: str, work: str, **words: Any) -> None:
        """Let it do this: the function of that name in the module, called with the run of the request and `words`, as a
        `Work` is."""
        self._is_working = True
        order = {"module": module, "name": work, "visible": os.environ.get(VISIBLE)}
        with suppress(BrokenPipeError):  # it was killed; the stage compiles for itself
            os.write(self._writing, json.dumps(order | {"words": words}).encode() + b"\n")
        os.close(self._writing)

    def wait(self, progress: Progress, doing: str) -> None:
        """Until it has done its work, in vain or not; not at all if it was given none.

        Raises:
            Stopped: asked to stop.
        """
        while self._is_working:
            stop_if_asked(progress, doing)
            if os.waitpid(self._pid, os.WNOHANG)[0]:
                self._is_working = False
            else:
                time.sleep(POLL_SECONDS)


_spares: list[Spare] = []


def fork_spares(request: Path, number: int) -> None:
    """For the stage of this process, where there may be a GPU to compile for. To be called before any thread starts."""
    if shutil.which("nvidia-smi"):
        _spares.extend(Spare(request) for _ in range(number))


def take_spare() -> Spare | None:
    """Return one that has no work yet; None if there is none."""
    return _spares.pop() if _spares else None


def _serve(request: Path, reading: int, parent: int) -> NoReturn:
    """In the fork: wait, work, and end without the interpreter's teardown."""
    from tasks.runtime.child import die_with_parent  # which imports this, as stages do
    from tasks.runtime.messages import read_request

    code = 1
    try:
        die_with_parent(parent, signal.SIGKILL)
        os.dup2(2, 1)  # the pipe of events is the stage's
        with os.fdopen(reading, "rb") as pipe:
            text = pipe.readline()
        if text:
            order = json.loads(text)
            if order["visible"] is not None:
                os.environ[VISIBLE] = order["visible"]
            getattr(import_module(order["module"]), order["name"])(read_request(request), order["words"])
        code = 0
    except Exception as error:  # noqa: BLE001 - the process boundary: the stage does without
        sys.stderr.write(f"nothing was compiled beside the stage: {type(error).__name__}: {error}\n")
    finally:
        os._exit(code)
