"""The pipeline in a terminal, with no Prefect server at all: what a new user does first.

Texts and latents are there already. That the whole pipeline runs from nothing: test_whole_run.py, and `make demo`.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.flows.holding import FEW, holding
from tests.flows.lab import PATIENCE, PROGRAMS, QUIET, children, free_port, wait_for
from tests.flows.toy import Toy

STEPS = 12
"""Of which the first two runs take `FEW` each, and wait."""


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Played:
    """Ctrl-C while training, the same again until it is killed, then to the end, and once more."""

    toy: Toy
    interrupted: Ended
    whole_checkpoints: list[Path]
    """After the kill."""
    seconds_to_stage: float
    """From the command after the kill to the process of its first stage."""
    resumed: Ended
    again: Ended


class Terminal:
    """A folder to type in, and a Prefect home of its own."""

    def __init__(self, folder: Path, home: Path, **more: str) -> None:
        """`more`: variables of the shell, such as the address of a server; without it there is none."""
        self.folder = folder
        self._environment = {**os.environ, **QUIET, "PREFECT_HOME": str(home), "WANDB_MODE": "offline"}
        self._environment.pop("PREFECT_API_URL", None)
        self._environment |= more

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Type it; in a session of its own, whose processes all get ctrl-C, as in a real terminal.

        `flows.server.bound` lets it hear ctrl-C though the tests were started in the background, and ends it with them.
        """
        return subprocess.Popen(
            [sys.executable, "-m", "flows.server.bound", str(os.getpid()), str(PROGRAMS / "ltx2-lora"), *words],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start_at(self, terminal: int, *words: str) -> "subprocess.Popen[bytes]":
        """Type it at a terminal, given by its file descriptor: its keys and its end send the signals."""
        bound = [sys.executable, "-m", "flows.server.bound", str(os.getpid()), str(PROGRAMS / "ltx2-lora"), *words]
        return subprocess.Popen(
            ["env", "--default-signal=HUP", "setsid", "--ctty", *bound],  # the tests may run under `nohup`
            cwd=self.folder,
            env=self._environment,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )

    def type(self, *words: str) -> Ended:
        """Type it and wait."""
        return ended(self.start(*words), time.monotonic())


def ended(process: "subprocess.Popen[str]", started: float) -> Ended:
    """Wait for a command."""
    out, err = process.communicate(timeout=PATIENCE)
    return Ended(process.returncode, out, err, time.monotonic() - started)


def play(prepared: Toy, folder: Path) -> Played:
    """From latents on, until ctrl-C, then until SIGKILL; go on in a folder whose server is down; then once more."""
    mine = prepared.variant("terminal", copied=True, train_lora={"steps": STEPS}, tracking={"wandb": True})
    nowhere, project = folder / "nowhere", folder / "project"
    nowhere.mkdir()
    project.mkdir()
    (project / "prefect.toml").write_text(f'[api]\nurl = "http://127.0.0.1:{free_port()}/api"\n')
    terminal = Terminal(nowhere, folder / "home", **holding(folder, FEW))
    process = terminal.start("run", str(mine.config))
    wait_for("checkpoint", lambda: mine.whole_checkpoints() or process.poll() is not None)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    interrupted, checkpoints = ended(process, asked), mine.whole_checkpoints()
    process = terminal.start("run", str(mine.config))
    wait_for("later checkpoint", lambda: mine.whole_checkpoints() != checkpoints or process.poll() is not None)
    process.kill()
    process.communicate()
    wait_for("end of the child", lambda: not children(mine.workspace))
    checkpoints, asked = mine.whole_checkpoints(), time.monotonic()
    process = Terminal(project, folder / "home").start("run", str(mine.config), "--from", "train_lora")
    wait_for("child", lambda: children(mine.workspace) or process.poll() is not None)
    seconds = time.monotonic() - asked
    resumed = ended(process, asked)
    again = Terminal(nowhere, folder / "home").type("run", str(mine.config))
    return Played(mine, interrupted, checkpoints, seconds, resumed, again)
