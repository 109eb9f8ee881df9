"""Start a stage's child process, listen to it, and end it with whatever ends us."""

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

from ltx_core import errors
from ltx_core.files.atomic import storage_errors
from ltx_core.oom import oom_kills
from tasks.death import StageDied, silent_death
from tasks.events import Listener, tell
from tasks.reporter import GRACE_SECONDS
from tasks.request import clear_leftovers, write_request
from tasks.stage_run import StageRun
from tasks.summary import Summary
from tasks.workspace import Workspace

LOG_TAIL_LINES = 12
TRACEBACK_LINES = 60
"""More of a traceback than its end says nothing new."""
TRACEBACK = "Traceback (most recent call last):"


def launch(run: StageRun, listener: Listener) -> Summary:
    """Run a stage in a process of its own and return its counts.

    The call is interruptible: whatever is raised meanwhile (cancelled, ctrl-C, timeout) ends the child first, by
    SIGTERM so that it commits what is finished, then by SIGKILL. What it says until then is passed on as before: the
    metrics of a step that is in its last checkpoint are not told again. So a thread listens, in which nothing is raised
    from outside.

    Raises:
        LtxError: what the stage found wrong, as the class it was raised as in the child.
        StageDied: the child died without a word, or of a defect; names the log.
    """
    name, log = run.stage.name, run.out / "log.txt"
    clear_leftovers(run)
    request, oom_before = write_request(run), oom_kills()
    try:
        listener.started(name, run.decided.why)
        end, code = _heard_out(_start(request, log, run.workspace), name, listener)
    finally:
        request.unlink(missing_ok=True)
    if end is None:
        raise silent_death(name, code, oom_before, str(log), f"End of {log}:\n{_tail(log)}")
    if end["event"] == "failed":
        raise _error(name, end["kind"], end["message"], log)
    return Summary.model_validate(end["summary"])


def _heard_out(child: subprocess.Popen[bytes], name: str, listener: Listener) -> tuple[dict[str, Any] | None, int]:
    """What the child said last, and its exit code; it has ended, whatever is raised here."""
    with ThreadPoolExecutor(1, f"listening to {name}") as listening:
        try:
            end = listening.submit(copy_context().run, _listen, child, name, listener).result()
            return end, child.wait()
        except BaseException:
            _end(child)
            raise


def _start(request: Path, log: Path, workspace: Workspace) -> subprocess.Popen[bytes]:
    """The child, in a session of its own; what it prints goes to the log, its events come through its pipe."""
    with storage_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "tasks.child", str(request), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=out,
                start_new_session=True,
                env=compile_caches(workspace) | os.environ,
            )


def compile_caches(workspace: Workspace) -> dict[str, str]:
    """Environment in which compilers keep what they made in the workspace; libraries read it when imported."""
    folder = workspace.compiled.resolve()
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TRITON_CACHE_DIR": str(folder / "triton")}


def _listen(child: subprocess.Popen[bytes], name: str, listener: Listener) -> dict[str, Any] | None:
    """Pass events on until the pipe closes; return the one that ended the child, if it sent one."""
    assert child.stdout is not None
    end = None
    for line in child.stdout:
        end = tell(listener, name, line) or end
    return end


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE_SECONDS + 2)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _error(name: str, kind: str, message: str, log: Path) -> Exception:
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, errors.LtxError):
        return known(message)
    return StageDied(f"{name} failed with {kind}: {message}. End of {log}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    """The last lines, from the beginning of the traceback that they end with, if they do."""
    lines = log.read_text(errors="replace").splitlines()
    starts = [number for number, line in enumerate(lines) if line == TRACEBACK]
    begin = max(starts[-1], len(lines) - TRACEBACK_LINES) if starts else len(lines)
    return "\n".join(lines[min(begin, len(lines) - min(LOG_TAIL_LINES, len(lines))) :])
