"""Listeners to a running stage that tell a terminal, or who reads what a command wrote into a file."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ltx_core.progress import Silent
from tasks.runtime.messages import Listener

WINDOW_SECONDS = 60.0
"""The pace is that of the last minute, or of the last two items where one takes longer."""
SHOWN = ("loss", "eval/loss")


class StagePace:
    """One stage as its child tells of it."""

    def __init__(self, why: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._why, self._clock = why, clock
        self._began = clock()
        self._seen: deque[tuple[float, int]] = deque()
        self._losses: dict[str, float] = {}
        self.done, self.total, self.unit = 0, 0, ""

    def advance(self, done: int, total: int, unit: str) -> None:
        """`done` of `total` items are finished. What was so at the first call was not made in this time."""
        now = self._clock()
        if (total, unit) != (self.total, self.unit):
            self._seen.clear()
        self.done, self.total, self.unit = done, total, unit
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW_SECONDS:
            self._seen.popleft()

    def measure(self, values: Mapping[str, float]) -> None:
        """Keep the losses among new values."""
        self._losses |= {name: values[name] for name in SHOWN if name in values}

    @property
    def seconds_each(self) -> float | None:
        """Seconds an item takes; None until two were finished."""
        (start, first), (end, last) = (self._seen[0], self._seen[-1]) if self._seen else ((0.0, 0), (0.0, 0))
        return (end - start) / (last - first) if last > first and end > start else None

    @property
    def detail(self) -> str:
        """Losses, pace and time left; why the stage runs, while there is none of it."""
        if not self.unit:
            return self._why
        parts = [f"{name} {value:.4f}" for name, value in self._losses.items()]
        if (each := self.seconds_each) is not None:
            parts.append(f"{each:.1f} s each" if each >= 1 else f"{1 / each:.1f} a second")
            if self.done < self.total:
                parts.append(f"{spoken(each * (self.total - self.done))} left")
        return ", ".join(parts)

    @property
    def line(self) -> str:
        """All of it, for a log."""
        if not self.unit:
            return f"at work for {spoken(self._clock() - self._began)}, nothing is finished yet"
        return ", ".join(part for part in (f"{self.done} of {self.total} {self.unit}", self.detail) if part)


def spoken(seconds: float) -> str:
    """A time in its two largest units: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


LINE_SECONDS = 30.0
READING = "reading the files once, since results are named by their content"


class OfWeights(Silent):
    """Progress with weights that no stage makes, such as of a download, passed on to those who watch stages."""

    NAME = "weights"

    def __init__(self, listener: Listener, why: str) -> None:
        self._listener, self._why = listener, why
        self._began = False

    def advance(self, done: int, total: int, unit: str) -> None:
        """Pass it on; the first time as a start."""
        if not self._began:
            self._began = True
            self._listener.started(self.NAME, self._why)
        self._listener.advanced(self.NAME, done, total, unit)


class WeightsLines(Silent):
    """Progress of reading weights where there are no bars: a line for each file."""

    def __init__(self, console: Console) -> None:
        self._console, self._unit = console, ""

    def advance(self, done: int, total: int, unit: str) -> None:
        """Print the line, if it is another file than before."""
        if unit != self._unit:
            self._unit = unit
            self._console.print(f"weights: {READING}: {total} {unit}", highlight=False, markup=False, soft_wrap=True)


class TerminalBars(Listener):
    """Rich bars, one a stage, with losses, pace and time left. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.fields[stage]:<18}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
        )
        self._bar: dict[str, TaskID] = {}
        self._pace: dict[str, StagePace] = {}

    def __enter__(self) -> "TerminalBars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def started(self, stage: str, why: str) -> None:
        """A new bar, and the time of the one before stands still; a stage that is tried again keeps its bar."""
        for earlier in self._bar.values():
            self._bars.stop_task(earlier)
        self._pace[stage] = StagePace(why)
        if stage in self._bar:
            self._bars.start_task(self._bar[stage])
        else:
            self._bar[stage] = self._bars.add_task(stage, stage=stage, unit="", detail=why, total=None)

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        """Move the bar."""
        pace = self._pace[stage]
        pace.advance(done, total, unit)
        self._bars.update(self._bar[stage], completed=done, total=total, unit=unit, detail=pace.detail)

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Show the losses beside the bar."""
        pace = self._pace[stage]
        pace.measure(values)
        self._bars.update(self._bar[stage], detail=pace.detail)

    def noted(self, stage: str, message: str) -> None:
        """Print the line above the bars."""
        self._bars.console.print(f"[dim]{stage}:[/dim] {escape(message)}", highlight=False)


class TerminalLines(Listener):
    """Lines where nobody sees bars: each start and note, and how it goes every half minute. A context manager."""

    def __init__(self, console: Console, seconds: float = LINE_SECONDS) -> None:
        self._console, self._seconds = console, seconds
        self._stage = ""
        self._pace = StagePace("")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell_now_and_then, daemon=True)

    def __enter__(self) -> "TerminalLines":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def started(self, stage: str, why: str) -> None:
        """Say so."""
        self._stage, self._pace = stage, StagePace(why)
        self._print(f"starts: {why}")

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        """Keep it for the next line."""
        self._pace.advance(done, total, unit)

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Keep the losses for the next line."""
        self._pace.measure(values)

    def noted(self, stage: str, message: str) -> None:
        """Print it."""
        self._console.print(f"{stage}: {message}", highlight=False, markup=False, soft_wrap=True)

    def _tell_now_and_then(self) -> None:
        while not self._over.wait(self._seconds):
            if self._stage:
                self._print(self._pace.line)

    def _print(self, text: str) -> None:
        self.noted(self._stage, text)
