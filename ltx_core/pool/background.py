"""Store samples on threads of their own: packing, hashing and disks take their time while the device computes."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from torch import Tensor

from ltx_core.pool.samples import pack_sample
from ltx_core.pool.transfer import PACKING_THREADS
from ltx_core.pool.writer import ShardWriter

MOST_WAITING = 64
"""Samples that may wait for the disk; then the device does."""


class BackgroundWriter:
    """Packs samples and gives them to a `ShardWriter` in order; use as a context manager inside the writer's own.

    Leaving the block waits until all are stored, however it is left.
    """

    def __init__(self, writer: ShardWriter) -> None:
        self.writer = writer
        self._packers = ThreadPoolExecutor(PACKING_THREADS, thread_name_prefix="pack samples")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store samples")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> "BackgroundWriter":
        return self

    def add(self, key: str, tensors: Callable[[], Mapping[str, Tensor]], info: Mapping[str, Any]) -> None:
        """Take one sample, whose tensors are asked for on another thread; returns at once unless many are waiting.

        Raises:
            StorageError: the disk is full; raised here or on leaving for a sample that came earlier.
        """
        packed = self._packers.submit(lambda: pack_sample(tensors()))
        self._waiting.append(self._thread.submit(self._store, key, packed, info))
        while self._waiting and (len(self._waiting) > MOST_WAITING or self._waiting[0].done()):
            self._waiting.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._packers.shutdown(wait=True)
        self._thread.shutdown(wait=True)
        for stored in self._waiting:
            if kind is None:
                stored.result()

    def _store(self, key: str, packed: Future[tuple[bytes, str]], info: Mapping[str, Any]) -> None:
        data, digest = packed.result()
        self.writer.add(key, data, digest, info)
