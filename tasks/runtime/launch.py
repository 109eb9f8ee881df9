"""Start a stage's child process, listen to it, and end it with whatever ends us."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from datasets_spec import Manifest
from ltx_core import errors
from ltx_core.errors import DataError, OutOfMemory, Stopped, TransientError
from ltx_core.io.atomic import storage_errors
from ltx_core.io.lock import try_folder_lock
from ltx_core.process import killed_since, oom_kills
from tasks.runtime.decide import decide
from tasks.runtime.execute import Summary, check_quarantine, read_summary
from tasks.runtime.messages import GRACE_SECONDS, STOPPED_EXIT, Listener, clear_leftovers, tell, write_request
from tasks.runtime.stage import StageRun
from tasks.runtime.stage_process import StageProcess, start_stage

KEPT = "What was finished is kept, run again to go on"


class StageDied(RuntimeError):
    """A stage's process ended of a defect or without a word; the message has the end of its log, traceback included."""


def silent_death(who: str, code: int, oom_before: int | None, log: str, end_of_log: str) -> Exception:
    """The error for a process that ended with `code`, negative for a signal. `oom_before` is what `oom_kills` gave when
    it started: only the kernel's own count says that memory ran out.
    """
    if code == -signal.SIGKILL and killed_since(oom_before):
        return OutOfMemory(
            f"the kernel ended the process of {who}, for host memory ran out: lower batch sizes, num_gpus or "
            f"cpu_threads, or close other programs. {KEPT}; log: {log}"
        )
    if code == -signal.SIGKILL:
        unless = ", and the kernel does not say here whether for want of memory" if oom_before is None else ""
        return Stopped(f"the process of {who} was killed from outside (SIGKILL){unless}. {KEPT}; log: {log}")
    if code in (-signal.SIGTERM, -signal.SIGINT, STOPPED_EXIT):
        return Stopped(f"the process of {who} was asked to stop before it could say so. {KEPT}; log: {log}")
    if code == -signal.SIGBUS:
        return DataError(
            f"the process of {who} ended with SIGBUS: a file that a library had mapped, such as one of weights, was "
            f"cut short meanwhile, or its disk could not give it. Look at the files of model and encoders; copy or "
            f"download anew what was changed. {KEPT}; log: {log}"
        )
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return StageDied(f"the process of {who} ended with {how} and no word. {end_of_log}")


LOG_TAIL_LINES = 12
TRACEBACK_LINES = 60
"""More of a traceback than its end says nothing new."""
TRACEBACK = "Traceback (most recent call last):"


def launch(run: StageRun[Any], listener: Listener) -> Summary:
    """Run a stage in a process of its own and return its counts.

    The call can be interrupted. If an exception is raised in it from outside (cancellation, Ctrl-C, timeout), it first
    ends the child: by SIGTERM, so that the child commits what is finished, and then by SIGKILL. Until then it passes on
    all that the child sends, because a later run does not send the metrics of steps before the last checkpoint again.
    So a thread of its own listens to the child, where no exception is raised from outside.

    Raises:
        LtxError: what the stage found wrong, as the class it was raised as in the child.
        StageDied: the child died without a word, or of a defect; names the log.
    """
    name, log = run.stage.name, run.out / "log.txt"
    clear_leftovers(run)
    request, oom_before = write_request(run), oom_kills()
    try:
        listener.started(name, run.decided.why)
        with storage_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            child = start_stage(request, run.stage, run.later, log, run.workspace)
        end, code = _heard_out(child, name, listener)
    finally:
        request.unlink(missing_ok=True)
    if end is None or (child.is_lost and end.get("kind") == Stopped.__name__):
        raise silent_death(name, code, oom_before, str(log), f"End of {log}:\n{_tail(log)}")
    if end["event"] == "failed":
        raise _error(name, end["kind"], end["message"], log)
    return Summary.model_validate(end["summary"])


def _heard_out(child: StageProcess, name: str, listener: Listener) -> tuple[dict[str, Any] | None, int]:
    """Return what the child said last, and its exit code. The child has ended when this returns or raises."""
    with closing(child), ThreadPoolExecutor(1, f"listening to {name}") as listening:
        try:
            end = listening.submit(copy_context().run, _listen, child, name, listener).result()
            return end, child.wait()
        except BaseException:
            _end(child)
            raise


def _listen(child: StageProcess, name: str, listener: Listener) -> dict[str, Any] | None:
    """Pass events on until the pipe closes; return the one that ended the child, if it sent one."""
    end = None
    for line in child.stdout:
        end = tell(listener, name, line) or end
    return end


def _end(child: StageProcess) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(GRACE_SECONDS + 2)
    except TimeoutError:
        child.send_signal(signal.SIGKILL)
        child.wait()


def _error(name: str, kind: str, message: str, log: Path) -> Exception:
    if (known := error_named(kind)) is not None:
        return known(message)
    return StageDied(f"{name} failed with {kind}: {message}. End of {log}:\n{_tail(log)}")


def error_named(kind: str) -> type[errors.LtxError] | None:
    """The class of an error that another process named; None for a defect."""
    known = getattr(errors, kind, None)
    return known if isinstance(known, type) and issubclass(known, errors.LtxError) else None


def _tail(log: Path) -> str:
    """The last lines, from the beginning of the traceback that they end with, if they do."""
    lines = log.read_text(errors="replace").splitlines()
    starts = [number for number, line in enumerate(lines) if line == TRACEBACK]
    begin = max(starts[-1], len(lines) - TRACEBACK_LINES) if starts else len(lines)
    return "\n".join(lines[min(begin, len(lines) - min(LOG_TAIL_LINES, len(lines))) :])


@dataclass(frozen=True)
class StageResult:
    """A stage's run and its counts; `built` says whether this run made the output."""

    run: StageRun[Any]
    summary: Summary
    built: bool

    @property
    def manifest(self) -> Manifest[Any]:
        """The stage's result."""
        return self.run.manifest

    @property
    def state_name(self) -> str:
        """`Built` or `Reused`: how Prefect shows it."""
        return "Built" if self.built else "Reused"


def perform(run: StageRun[Any], listener: Listener) -> StageResult:
    """Reuse what is there whole, or build it in a child process.

    Raises:
        LtxError: the stage failed.
    """
    return reuse_or_build(run, lambda decided: launch(decided, listener))


def reuse_or_build(run: StageRun[Any], build: Callable[[StageRun[Any]], Summary]) -> StageResult:
    """Reuse what is there whole, or let `build` make it.

    Raises:
        LtxError: the stage failed.
    """
    run = replace(run, decision=decide(run))
    if run.decided.reusable and not run.force:
        with try_folder_lock(run.out, shared=True) as held:
            if held and run.manifest.exists():  # no collection of garbage has deleted it, nor does before it is latest
                summary, limit = read_summary(run.manifest), run.shared.limits.max_quarantined_fraction
                check_quarantine(summary, limit)  # which may be another by now
                os.utime(run.manifest.path)
                run.workspace.set_latest(run.stage.name, run.decided.key)
                return StageResult(run, summary, built=False)
    return StageResult(run, build(run), built=True)


RETRY_DELAYS_SECONDS = (5.0, 30.0)
"""Before the second and the third attempt; there is no fourth."""
T = TypeVar("T")


def with_retries(
    attempt: Callable[[], T], say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> T:
    """Return what `attempt` gives, tried again after each `TransientError`; `say` gets why and when.

    Raises:
        LtxError: any other error at once, and a `TransientError` of the last attempt.
    """
    for seconds in RETRY_DELAYS_SECONDS:
        try:
            return attempt()
        except TransientError as error:
            say(f"{error}; trying again in {seconds:g} s")
        sleep(seconds)
    return attempt()
