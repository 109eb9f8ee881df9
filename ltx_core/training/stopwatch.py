"""How fast steps are, and how much of their time they wait for data. Told, never kept: times differ between runs."""

import time
from types import TracebackType


class Stopwatch:
    """Sums up steps since the last report; a step is a `with` block."""

    def __init__(self) -> None:
        self._began = 0.0
        self._waited = 0.0
        self._seconds = 0.0
        self._steps = 0
        self._tokens = 0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._seconds += time.monotonic() - self._began
        self._steps += 1

    def add(self, num_tokens: int) -> None:
        """Count the tokens of a step."""
        self._tokens += num_tokens

    def report(self, waited: float) -> dict[str, float]:
        """Means since the last report; `waited` are all seconds so far that steps waited for data."""
        seconds, wait = max(self._seconds, 1e-9), waited - self._waited
        values = {
            "step_seconds": seconds / self._steps,
            "tokens_per_second": self._tokens / seconds,
            "data/wait_seconds": wait / self._steps,
            "data/wait_share": wait / seconds,
        }
        self._waited, self._seconds, self._steps, self._tokens = waited, 0.0, 0, 0
        return values
