"""Start `ltx2-lora` as a person does, watch it from outside, and judge what it said."""

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tasks.runtime.fork_server import NAME

PATIENCE_SECONDS = 300.0
"""After this a run counts as hung."""
FIRST_STAGE_SECONDS = 10.0
TRACEBACK = "Traceback (most recent call last)"
BARS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ended:
    """A run that ended.

    Attributes:
        code: Exit code; negative for the signal that ended it.
        output: What it printed, without colours.
        seconds: From its start to its end.
        first_stage: Seconds from its start to its first stage, or to its end where no stage had to run.
        hung: It was ended by us, after `PATIENCE_SECONDS`.
    """

    code: int
    output: str
    seconds: float
    first_stage: float
    hung: bool = False

    @property
    def problem(self) -> str:
        """What is wrong with how it went, whatever its result is."""
        if self.hung:
            return f"hung for {self.seconds:.0f} s: {last_line(self.output)}"
        if TRACEBACK in self.output:
            return f"traceback: {last_line(self.output)}"
        if self.first_stage > FIRST_STAGE_SECONDS:
            return f"first stage after {self.first_stage:.1f} s"
        return ""

    @property
    def failure(self) -> str:
        """`problem`, or what it said when it failed."""
        return self.problem or (f"exit code {self.code}: {self.output[-600:]}" if self.code else "")


class Command:
    """`ltx2-lora WORDS` in a terminal of its own (`terminal=True`) or with its output in a pipe."""

    def __init__(
        self, *words: str | Path, terminal: bool = False, environment: Mapping[str, str] | None = None
    ) -> None:
        self.started = time.monotonic()
        self.first_stage: float | None = None
        self._said: list[bytes] = []
        environment = {**os.environ, "DO_NOT_TRACK": "true", "COLUMNS": "200", **(environment or {})}
        arguments = [sys.executable, "-m", "flows", *(str(word) for word in words)]
        self.master, slave = pty.openpty() if terminal else os.pipe()
        out = slave
        self.process = subprocess.Popen(
            arguments,
            stdin=slave if terminal else subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            start_new_session=True,
            preexec_fn=_take_terminal if terminal else None,  # noqa: PLW1509 - no other thread runs yet that holds a lock
        )
        os.close(out)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self, seconds: float = PATIENCE_SECONDS) -> Ended:
        """Until it ends; what hangs is killed."""
        hung = not self.watch(lambda: self.process.poll() is not None, seconds)
        if hung:
            kill_tree(self.process.pid)
        code = self.process.wait()
        took = time.monotonic() - self.started
        self._reader.join(5)
        output = BARS.sub("", b"".join(self._said).decode(errors="replace"))
        first = took if self.first_stage is None else self.first_stage
        return Ended(code, output, took, first, hung)

    def watch(self, until: Callable[[], Any], seconds: float) -> bool:
        """Poll until something is so, noting when the first stage's process appears; False if it does not come."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                return False
            if self.first_stage is None and stage_process(self.process.pid):
                self.first_stage = time.monotonic() - self.started
            time.sleep(0.03)
        return True

    def close_terminal(self) -> None:
        """As a person who closes the window."""
        os.close(self.master)

    def press_ctrl_c(self) -> None:
        """Type it; the terminal signals every process in front."""
        os.write(self.master, b"\x03")

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the terminal's other end is gone
                return
            if not data:
                return
            self._said.append(data)


def run_and_wait(*words: str | Path, environment: Mapping[str, str] | None = None) -> Ended:
    """`ltx2-lora WORDS`, until it ends."""
    return Command(*words, environment=environment).wait()


def stage_process(pid: int) -> psutil.Process | None:
    """The process of a stage among those that `pid` started, if there is one."""
    return next((child for child in tree(pid) if name_of(child).startswith(NAME)), None)


def tree(pid: int) -> list[psutil.Process]:
    """Every process below `pid`."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and all below it."""
    for process in [*tree(pid), *_itself(pid)]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def last_line(output: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was printed"


def _itself(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; nothing of one that ended meanwhile."""
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def name_of(process: psutil.Process) -> str:
    """Its name; nothing of one that ended meanwhile."""
    try:
        return str(process.name())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _take_terminal() -> None:
    """Make standard input the controlling terminal of this new session, so that ctrl-C and hanging up reach it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
