"""`python -m tasks.runtime.child REQUEST PARENT_PID`: run one stage in a process of its own that dies with its parent.

When this process ends its memory is gone, so models of different stages never share a GPU. Standard output is the event
pipe; whatever libraries print goes to the log instead. SIGTERM lets the body commit what is finished. In a
run, it is a fork of `tasks.runtime.fork_server`, which has imported the libraries.

Why so: docs/decisions/one_process_a_stage.md.
"""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ltx_core.errors import LtxError, Stopped
from ltx_core.io.json_file import read_json
from tasks.runtime.messages import STOPPED_EXIT, Reporter, log_to_stderr

if TYPE_CHECKING:
    from tasks.runtime.device import Held
    from tasks.runtime.stage import StageRun


PR_SET_PDEATHSIG = 1
FAILED_EXIT = 1


def die_with_parent(parent: int, by: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel for that signal when the parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it died before the line above
        os._exit(STOPPED_EXIT)


def take_stdout() -> int:
    """Keep the pipe for events alone: whatever prints to standard output reaches the log."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    return pipe


def run_request(request: Path, reporter: Reporter) -> None:
    """Execute the request, as the first of several processes if the stage runs as such."""
    from tasks.runtime.execute import execute
    from tasks.runtime.messages import read_request
    from tasks.runtime.ranks import first_of
    from tasks.runtime.torchrun import refuse_several_nodes

    run = read_request(request, reporter)
    refuse_several_nodes(run, request)

    def lost(error: Exception) -> None:
        reporter.send("failed", kind=type(error).__name__, message=str(error))
        os._exit(FAILED_EXIT)

    with _gpus_of(run) as held:
        if held is not None:
            held.keep(run.num_ranks)
        with first_of(run.num_ranks, request, lost):
            summary = execute(run)
    reporter.send("finished", summary=summary.model_dump(mode="json"))


def _fork_spares(request: Path) -> None:
    from tasks import stage_named
    from tasks.runtime.spare import fork_spares

    fork_spares(request, stage_named(read_json(request)["stage"]).num_spares)


def _gpus_of(run: "StageRun[Any]") -> AbstractContextManager["Held | None"]:
    """The GPUs that the stage may use, held; None where it uses none."""
    from tasks.runtime.device import ALL, held_gpus

    stage, memory = run.stage, run.shared.memory
    if stage.device != "gpu" or memory.device == "cpu":
        return nullcontext()
    if not stage.has_ranks:
        return held_gpus(1, run.doing, run.progress)
    return held_gpus(ALL if memory.num_gpus == "auto" else memory.num_gpus, run.doing, run.progress)


def guarded(work: Callable[[], None], reporter: Reporter) -> int:
    """Do the work of a process; its boundary, where every exception becomes an event and an exit code."""
    try:
        work()
    except Stopped as stopped:
        reporter.send("failed", kind="Stopped", message=str(stopped))
        return STOPPED_EXIT
    except LtxError as error:
        return _failed(reporter, type(error).__name__, str(error))
    except MemoryError as error:
        return _failed(reporter, "OutOfMemory", f"host memory ran out ({error}); close other programs")
    except Exception as error:  # noqa: BLE001 - the process boundary: a defect is reported, with its traceback in the log
        return _failed(reporter, type(error).__name__, str(error))
    return 0


def _failed(reporter: Reporter, kind: str, message: str) -> int:
    """Say it first, then log it: the log may lie on the disk whose trouble it is."""
    reporter.send("failed", kind=kind, message=message)
    traceback.print_exc()
    return FAILED_EXIT


def serve(
    work: Callable[[Path, Reporter], None], end_by: signal.Signals, before: Callable[[Path], object] = bool
) -> NoReturn:
    """Be the process that `REQUEST PARENT_PID` on the command line asks for: do `work`, and end by that signal when the
    parent ends. `before` is done first, while there is no thread."""
    request, parent = Path(sys.argv[1]), int(sys.argv[2])
    before(request)
    reporter = Reporter(take_stdout())
    log_to_stderr()
    reporter.listen_for_stop()
    die_with_parent(parent, end_by)
    code = guarded(lambda: work(request, reporter), reporter)
    os._exit(code)  # no interpreter teardown: worker threads of libraries may hang in it


def main() -> None:
    """Entry point of the child process."""
    serve(run_request, signal.SIGTERM, _fork_spares)


if __name__ == "__main__":
    main()
