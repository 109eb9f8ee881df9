"""How far a stage is, how fast it goes and how long it will take yet, as people read it."""

import time
from collections import deque
from collections.abc import Callable, Mapping

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
