"""`python -m tasks.child REQUEST PARENT_PID`: run one stage in a process of its own, which dies with its parent.

When this process ends its memory is gone, so Gemma, the VAEs and the transformer never share a GPU. Standard output is
the event pipe; whatever libraries print goes to the log instead. SIGTERM lets the body commit what is finished.
"""

import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from ltx_core.errors import LtxError, Stopped
from tasks.events import encode

if TYPE_CHECKING:
    from tasks.execute import Execution
    from tasks.gpus import Held

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 10.0
"""How long a body may take to commit after SIGTERM before the process ends regardless."""
ADVANCE_INTERVAL_SECONDS = 0.05
STOPPED_EXIT = 143
FAILED_EXIT = 1


class Reporter:
    """The child's Progress: writes events to the pipe, and turns SIGTERM into `stopping`."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self.stopping = False
        self._last_advance = 0.0

    def listen_for_stop(self) -> None:
        """Take SIGTERM and SIGINT as a request to stop."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        if not self.stopping:
            self.stopping = True
            threading.Thread(target=_end_after_grace, daemon=True).start()

    def advance(self, done: int, total: int, unit: str) -> None:
        """Say how far it is; at most 20 times a second, and always at the end."""
        now = time.monotonic()
        if done >= total or now - self._last_advance >= ADVANCE_INTERVAL_SECONDS:
            self._last_advance = now
            self.send("advanced", done=done, total=total, unit=unit)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send values at a step."""
        self.send("measured", step=step, values=dict(values))

    def note(self, message: str) -> None:
        """Send one line for people, and keep it in the log."""
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
        self.send("noted", message=message)

    def send(self, event: str, **fields: object) -> None:
        """Write one event; a parent that is gone cannot listen and is no error here."""
        try:
            os.write(self.pipe, encode(event, **fields))
        except BrokenPipeError:
            self.stopping = True


def _end_after_grace() -> None:
    time.sleep(GRACE_SECONDS)
    os._exit(STOPPED_EXIT)


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        os._exit(STOPPED_EXIT)


def take_stdout() -> int:
    """Keep the pipe for events alone: whatever prints to standard output reaches the log."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    return pipe


def run(request: Path, reporter: Reporter) -> None:
    """Execute the request, as the first of several processes if the stage runs as such."""
    from tasks.execute import execute
    from tasks.ranks import first_of
    from tasks.request import load_execution
    from tasks.torchrun import refuse_several_nodes

    execution = load_execution(request)
    refuse_several_nodes(execution, request)

    def lost(error: Exception) -> None:
        reporter.send("failed", kind=type(error).__name__, message=str(error))
        os._exit(FAILED_EXIT)

    with _gpus_of(execution, reporter) as held:
        ranks = execution.num_ranks()
        if held is not None:
            held.keep(ranks)
        with first_of(ranks, request, lost):
            summary = execute(execution, reporter)
    reporter.send("finished", summary=summary.model_dump(mode="json"))


def _gpus_of(execution: "Execution", reporter: Reporter) -> AbstractContextManager["Held | None"]:
    """The GPUs that the stage may use, held; None where it uses none."""
    from tasks.gpus import ALL, held_gpus
    from tasks.stage import one_process

    stage, memory = execution.decision.stage, execution.shared.memory
    if stage.device != "gpu" or memory.device == "cpu":
        return nullcontext()
    if stage.num_ranks is one_process:
        return held_gpus(1, reporter)
    return held_gpus(ALL if memory.num_gpus == "auto" else memory.num_gpus, reporter)


def guarded(work: Callable[[], None], reporter: Reporter) -> int:
    """Do the work of a process; its boundary, where every exception becomes an event and an exit code."""
    try:
        work()
    except Stopped as stopped:
        reporter.send("failed", kind="Stopped", message=str(stopped))
        return STOPPED_EXIT
    except LtxError as error:
        traceback.print_exc()
        reporter.send("failed", kind=type(error).__name__, message=str(error))
        return FAILED_EXIT
    except MemoryError as error:
        traceback.print_exc()
        reporter.send("failed", kind="OutOfMemory", message=f"host memory ran out ({error}); close other programs")
        return FAILED_EXIT
    except Exception as error:  # noqa: BLE001 - the process boundary: a defect is reported, with its traceback in the log
        traceback.print_exc()
        reporter.send("failed", kind=type(error).__name__, message=str(error))
        return FAILED_EXIT
    return 0


def serve(work: Callable[[Path, Reporter], None], die_with: Callable[[int], None]) -> NoReturn:
    """Be the process that `REQUEST PARENT_PID` on the command line asks for: do `work`, end with the parent."""
    request, parent = Path(sys.argv[1]), int(sys.argv[2])
    reporter = Reporter(take_stdout())
    reporter.listen_for_stop()
    die_with(parent)
    code = guarded(lambda: work(request, reporter), reporter)
    sys.stderr.flush()
    os._exit(code)  # no interpreter teardown: worker threads of libraries may hang in it


def main() -> None:
    """Entry point of the child process."""
    serve(run, die_with_parent)


if __name__ == "__main__":
    main()
