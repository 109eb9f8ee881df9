"""Decode ahead of whoever uses the pictures: worker threads, a window of so many items and bytes, results in order."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Generic, TypeVar

from ltx_core.errors import Stopped

Item = TypeVar("Item")
Result = TypeVar("Result")
Failure = TypeVar("Failure", bound=Exception)

WAIT_SECONDS = 0.1
"""How often it is looked whether to leave."""
MOST_WORKERS = 16
"""ffmpeg uses several cores for a file by itself; more files at once mostly take memory."""


@dataclass(frozen=True)
class Window:
    """How far ahead."""

    workers: int
    """Threads; ffmpeg and NumPy let others run while they work."""
    max_bytes: int
    """Of results that wait or are being made; a single item may be larger."""

    @property
    def max_items(self) -> int:
        """Items that wait or are being made."""
        return 2 * self.workers


def default_workers() -> int:
    """One for each core that this process may use, up to `MOST_WORKERS`."""
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


class Leaving(threading.Event):
    """Set once nobody wants results any more."""

    def check(self) -> None:
        """For the work to call now and then.

        Raises:
            Stopped: nobody wants the result.
        """
        if self.is_set():
            raise Stopped("nobody waits for this any more")


@dataclass
class _Ahead(Generic[Item, Result]):
    """What was begun and not yet taken, oldest first."""

    waiting: deque[tuple[Item, Future[Result], int]]
    num_bytes: int = 0

    def has_room(self, size: int, window: Window) -> bool:
        fits = len(self.waiting) < window.max_items and self.num_bytes + size <= window.max_bytes
        return fits or not self.waiting

    def oldest(self, check: Callable[[], None], apart: type[Failure]) -> tuple[Item, Result | Failure]:
        item, future, num_bytes = self.waiting[0]
        while True:
            check()
            try:
                result: Result | Failure = future.result(timeout=WAIT_SECONDS)
            except NotYet:
                continue
            except apart as error:
                result = error
            break
        self.waiting.popleft()
        self.num_bytes -= num_bytes
        return item, result


def run_ahead(
    items: Iterable[Item],
    work: Callable[[Item, Leaving], Result],
    *,
    size: Callable[[Item], int],
    window: Window,
    check: Callable[[], None],
    apart: type[Failure],
) -> Generator[tuple[Item, Result | Failure], None, None]:
    """(item, result) in the items' order, whichever is ready first; an item whose work raised `apart` gives that.

    `size` says how many bytes a result takes; `check` is called while waiting and may raise to end it all. Closing
    the iterator (use `contextlib.closing`) ends every thread: work that calls `Leaving.check` ends at once.

    Raises:
        Exception: whatever else the work or `check` raises.
    """
    leaving = Leaving()
    ahead: _Ahead[Item, Result] = _Ahead(deque())
    threads = ThreadPoolExecutor(window.workers, thread_name_prefix="decode ahead")
    try:
        for item in items:
            num_bytes = size(item)
            while not ahead.has_room(num_bytes, window):
                yield ahead.oldest(check, apart)
            ahead.waiting.append((item, threads.submit(work, item, leaving), num_bytes))
            ahead.num_bytes += num_bytes
        while ahead.waiting:
            yield ahead.oldest(check, apart)
    finally:
        leaving.set()
        threads.shutdown(wait=True, cancel_futures=True)
