"""What is said of a process of a stage that ended without a word."""

import signal

from ltx_core.errors import DataError, OutOfMemory, Stopped
from ltx_core.oom import killed_since
from tasks.reporter import STOPPED_EXIT

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
