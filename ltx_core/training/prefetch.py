"""Batches made ready ahead of the step, in threads: read, checked, noised, and in memory that a GPU can fetch from."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import torch

from ltx_core.training.batch import TrainBatch
from ltx_core.training.order import Visit

DEPTH = 4
"""Batches made ahead. One clip of 512x768x121 takes 10 MB, so they cost little."""
THREADS = 4
"""That make them. SHA-256 of a sample's first read is what takes longest, and lets other threads run."""
Visits = Sequence[Visit]


class Load(Protocol):
    """Gives the batch of some visits."""

    def __call__(self, visits: Visits) -> TrainBatch: ...


class Feed:
    """Gives the batches of known visits in their order; a batch is a function of its visits, whoever makes it."""

    def __init__(self, load: Load, orders: Iterable[Visits], pool: ThreadPoolExecutor, depth: int) -> None:
        self.load = load
        self.pool = pool
        self.wait_seconds = 0.0
        """Time that the step has spent here, waiting."""
        self._orders = iter(orders)
        self._ahead: deque[tuple[Visits, Future[TrainBatch]]] = deque()
        for _ in range(depth):
            self._order_one()

    def __call__(self, visits: Visits) -> TrainBatch:
        """The next batch, which must be that of `visits`.

        Raises:
            DataError: a clip cannot be read or is not finite.
            ValueError: another batch is next.
        """
        ordered, future = self._ahead.popleft()
        if ordered != visits:
            raise ValueError(f"the batch of {visits} was asked for where that of {ordered} is next")
        began = time.monotonic()
        batch = future.result()
        self.wait_seconds += time.monotonic() - began
        self._order_one()
        return batch

    def _order_one(self) -> None:
        visits = next(self._orders, None)
        if visits is not None:
            self._ahead.append((visits, self.pool.submit(self.load, visits)))


@contextmanager
def prefetched(load: Load, orders: Iterable[Visits], device: str, depth: int = DEPTH) -> Iterator[Feed]:
    """A feed of `orders`, in pinned memory for a GPU; its threads end with the block, whatever ends that."""
    on_gpu = device.startswith("cuda")
    start: Callable[[], None] | None = None
    if on_gpu:
        number = torch.cuda.current_device()  # a new thread would take GPU 0

        def start() -> None:
            torch.cuda.set_device(number)

    def ready(visits: Visits) -> TrainBatch:
        batch = load(visits)
        return batch.pinned() if on_gpu else batch

    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="batches", initializer=start)
    try:
        yield Feed(ready, orders, pool, depth)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
