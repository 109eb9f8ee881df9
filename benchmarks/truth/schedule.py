"""Run units of work as processes, several at once, and leave in time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.truth.units import Unit

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.2
SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""One thread a process: many run side by side."""


@dataclass
class Schedule:
    """What is done, what runs, and what failed.

    Attributes:
        out: Folder of everything that is made.
        device: "cpu" or "cuda".
        gpus: GPUs that processes are given in turn, with "cuda".
        options: Further options of every process.
        is_done: Whether a unit's result is there.
        say: Is told a line for each unit.
        started: Processes that were started so far.
        began: Of the clock that `run` is limited by.
    """

    out: Path
    device: str
    gpus: int
    options: Sequence[str]
    is_done: Callable[[Unit], bool]
    say: Callable[[str], None]
    running: dict[Unit, subprocess.Popen[bytes]] = field(default_factory=dict)
    failed: set[Unit] = field(default_factory=set)
    started: int = 0
    began: float = field(default_factory=time.monotonic)

    def run(self, units: Sequence[Unit], jobs: int, seconds: float | None) -> bool:
        """Do all that is not done yet, at most `jobs` at once, and end what still runs after `seconds`.

        Returns:
            True if everything is done.
        """
        waiting = [unit for unit in units if not self.is_done(unit)]
        self.say(f"{len(units) - len(waiting)} of {len(units)} units are done already")
        try:
            while (waiting or self.running) and not self._is_late(seconds):
                waiting = self._start(waiting, jobs)
                if not self.running:
                    break
                time.sleep(POLL_SECONDS)
                self._collect()
        finally:
            self._end()
        return all(self.is_done(unit) for unit in units)

    def _is_late(self, seconds: float | None) -> bool:
        return seconds is not None and time.monotonic() - self.began > seconds

    def _start(self, waiting: list[Unit], jobs: int) -> list[Unit]:
        """Start what may start, in order, and return the rest."""
        left = []
        for unit in waiting:
            if any(need in self.failed for need in unit.after):
                self.failed.add(unit)
            elif len(self.running) < jobs and all(self.is_done(need) for need in unit.after):
                self.running[unit] = self._process(unit)
            else:
                left.append(unit)
        return left

    def _process(self, unit: Unit) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "benchmarks.truth", "--out", str(self.out), "--device", self.device]
        logs = self.out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"{unit.label.replace(' ', '_').replace(',', '')}.txt").open("ab") as log:
            return subprocess.Popen(
                [*command, *self.options, "--unit", unit.kind, unit.name, str(unit.seed)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | SINGLE | {"PYTHONPATH": str(ROOT)} | self._gpu(),
            )

    def _gpu(self) -> Mapping[str, str]:
        """The GPUs by turns; on the CPU none, so that no process makes a context there."""
        if self.device == "cpu":
            return {"CUDA_VISIBLE_DEVICES": ""}
        self.started += 1
        return {"CUDA_VISIBLE_DEVICES": str(self.started % self.gpus)} if self.gpus > 1 else {}

    def _collect(self) -> None:
        for unit, process in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[unit]
            minutes = (time.monotonic() - self.began) / 60
            if process.returncode == 0 and self.is_done(unit):
                self.say(f"{minutes:5.1f} min: {unit.label}")
            else:
                self.failed.add(unit)
                self.say(f"{minutes:5.1f} min: {unit.label} FAILED with {process.returncode}; see {self.out / 'logs'}")

    def _end(self) -> None:
        """End what still runs; a training that was stopped goes on from its last checkpoint at the next call."""
        for unit, process in self.running.items():
            self.say(f"left: {unit.label}")
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.running.clear()
