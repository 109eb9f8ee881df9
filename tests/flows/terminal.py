"""The pipeline in a terminal, with no Prefect server at all: what a new user does first.

Texts and latents are there already. That the whole pipeline runs from nothing: test_whole_run.py, and `make demo`.
"""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tasks.runtime.ranks import free_port
from tests.flows.holding import FEW, holding
from tests.flows.lab import PATIENCE, PROGRAMS, QUIET, children, wait_for
from tests.flows.toy import Toy

STEPS = 12
"""Of which a first run takes `FEW`, and waits."""
OURS = re.compile(r"(\w+: .*|Prefect's .*|interrupted; .*)")
"""What a line of ours looks like; Prefect's begin with the time."""


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Played:
    """Ctrl-C while training, then the same to the end, and once more."""

    toy: Toy
    interrupted: Ended
    whole_checkpoints: list[Path]
    """After ctrl-C."""
    resumed: Ended
    again: Ended


@dataclass(frozen=True)
class Killed:
    """SIGKILL while training, then the same to the end."""

    toy: Toy
    seconds_to_stage: float
    """From the command after the kill to the process of its first stage."""
    resumed: Ended


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
    """From latents on, until ctrl-C; go on in a folder whose server is down; then once more."""
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
    resumed = Terminal(project, folder / "home").type("run", str(mine.config), "--from", "train_lora")
    again = Terminal(nowhere, folder / "home").type("run", str(mine.config))
    return Played(mine, interrupted, checkpoints, resumed, again)


def kill(prepared: Toy, folder: Path) -> Killed:
    """From latents on, until SIGKILL; then to the end."""
    mine = prepared.variant("killed", copied=True, train_lora={"steps": STEPS})
    command = ("run", str(mine.config), "--only", "train_lora")
    process = Terminal(folder, folder / "home", **holding(folder, FEW)).start(*command)
    wait_for("checkpoint", lambda: mine.whole_checkpoints() or process.poll() is not None)
    process.kill()
    process.communicate()
    wait_for("end of the child", lambda: not children(mine.workspace))
    asked = time.monotonic()
    process = Terminal(folder, folder / "home").start(*command)
    wait_for("child", lambda: children(mine.workspace) or process.poll() is not None)
    seconds = time.monotonic() - asked
    return Killed(mine, seconds, ended(process, asked))
