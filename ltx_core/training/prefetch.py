"""Batches made ready ahead of the step, in threads: read, checked, noised, and in memory that a GPU can fetch from."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import torch

from ltx_core.training.batch import TrainBatch
from ltx_core.training.order import SampleOccurrence

DEPTH = 4
"""Batches made ahead. One clip of 512x768x121 takes 10 MB, so they cost little."""
THREADS = 4
"""That make them. SHA-256 of a sample's first read is what takes longest, and lets other threads run."""
Occurrences = Sequence[SampleOccurrence]


class Load(Protocol):
    """Gives the batch of some occurrences."""

    def __call__(self, occurrences: Occurrences) -> TrainBatch: ...


class Feed:
    """Gives the batches of known samples in their order; a batch is a function of its samples, whoever makes it."""

    def __init__(self, load: Load, orders: Iterable[Occurrences], threads: ThreadPoolExecutor, depth: int) -> None:
        self.load = load
        self.threads = threads
        self.wait_seconds = 0.0
        """Time that the step has spent here, waiting."""
        self._orders = iter(orders)
        self._ahead: deque[tuple[Occurrences, Future[TrainBatch]]] = deque()
        for _ in range(depth):
            self._order_one()

    def __call__(self, occurrences: Occurrences) -> TrainBatch:
        """The next batch, which must be that of `occurrences`.

        Raises:
            DataError: a clip cannot be read or is not finite.
            ValueError: another batch is next.
        """
        ordered, future = self._ahead.popleft()
        if ordered != occurrences:
            raise ValueError(f"the batch of {occurrences} was asked for where that of {ordered} is next")
        began = time.monotonic()
        batch = future.result()
        self.wait_seconds += time.monotonic() - began
        self._order_one()
        return batch

    def _order_one(self) -> None:
        occurrences = next(self._orders, None)
        if occurrences is not None:
            self._ahead.append((occurrences, self.threads.submit(self.load, occurrences)))


@contextmanager
def prefetched(load: Load, orders: Iterable[Occurrences], device: str, depth: int = DEPTH) -> Iterator[Feed]:
    """A feed of `orders`, in pinned memory for a GPU; its threads end with the block, whatever ends that."""
    on_gpu = device.startswith("cuda")
    start: Callable[[], None] | None = None
    if on_gpu:
        number = torch.cuda.current_device()  # a new thread would take GPU 0

        def start() -> None:
            torch.cuda.set_device(number)

    def ready(occurrences: Occurrences) -> TrainBatch:
        batch = load(occurrences)
        return batch.pinned() if on_gpu else batch

    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="batches", initializer=start)
    try:
        yield Feed(ready, orders, threads, depth)
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
