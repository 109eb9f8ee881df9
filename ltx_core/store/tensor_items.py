"""Tensors in and out of the store's items: read one at a time from shards, stored by threads of their own."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ltx_core.errors import DataError
from ltx_core.io.digest import DIGEST_LENGTH
from ltx_core.io.safetensors import header_of
from ltx_core.io.tensors import torch_dtype
from ltx_core.store.shards import ShardWriter
from ltx_core.transfer import PACKING_THREADS


def pack_item(tensors: Mapping[str, Tensor]) -> tuple[bytes, str]:
    """Safetensors bytes of an item and their digest. The same tensors give the same bytes."""
    data = save({name: tensor.contiguous().cpu() for name, tensor in sorted(tensors.items())})
    return data, item_digest(data)


def item_digest(data: bytes | memoryview) -> str:
    """SHA-256 of an item's bytes, as long as every digest here."""
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]


class ShardReader:
    """Random access to items. Each item's bytes are checked when first read. Threads may share a reader: at worst
    two of them check the same item.

    Shards are read and never mapped: a mapped file that is cut short, or that its disk cannot give, ends the process
    with SIGBUS where an error can be raised.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._checked: set[tuple[str, int, int, str]] = set()

    def read(self, shard: str, offset: int, size: int, sha256: str) -> dict[str, Tensor]:
        """The tensors of one item of `shard` (relative to the root), which share memory of their own.

        Raises:
            DataError: the shard is gone, shorter than its index says, of other bytes, or cannot be read.
        """
        view = _bytes(self.root / shard, offset, size)
        if view is None or ((shard, offset, size, sha256) not in self._checked and item_digest(view) != sha256):
            raise DataError(
                f"the item at byte {offset} of {self.root / shard} is damaged: its bytes are not those its index "
                f"names. Run again: only its items are computed anew."
            )
        self._checked.add((shard, offset, size, sha256))
        return _tensors(view, self.root / shard)


def _bytes(path: Path, offset: int, size: int) -> memoryview | None:
    """Part of a file, in memory that is aligned as PyTorch's is; None if the file ends before."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < offset + size:
                return None
            view = torch.empty(size, dtype=torch.uint8).numpy().data
            file.seek(offset)
            return view if file.readinto(view) == size else None
    except OSError as error:
        raise DataError(
            f"shard {path} cannot be read ({error.strerror}). Run again: what is gone or damaged is computed anew."
        ) from error


def _tensors(view: memoryview, shard: Path) -> dict[str, Tensor]:
    """Tensors in place: they share the memory of `view`."""
    tensors = {}
    for name, entry in header_of(view, shard).tensors.items():
        dtype = torch_dtype(shard, name, entry.dtype)
        if entry.begin == entry.end:
            tensors[name] = torch.empty(entry.shape, dtype=dtype)
            continue
        count = (entry.end - entry.begin) // dtype.itemsize
        tensors[name] = torch.frombuffer(view, dtype=dtype, count=count, offset=entry.begin).view(entry.shape)
    return tensors


MOST_WAITING = 64
"""Items that may wait for the disk; then the device does."""


class BackgroundWriter:
    """Packs items and gives them to a `ShardWriter` in order; use as a context manager inside the writer's own.

    Leaving the block waits until all are stored, however it is left.
    """

    def __init__(self, writer: ShardWriter) -> None:
        self.writer = writer
        self._packers = ThreadPoolExecutor(PACKING_THREADS, thread_name_prefix="pack items")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store items")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> "BackgroundWriter":
        return self

    def add(self, key: str, tensors: Callable[[], Mapping[str, Tensor]], info: Mapping[str, Any]) -> None:
        """Take one item, whose tensors are asked for on another thread; returns at once unless many are waiting.

        Raises:
            StorageError: the disk is full; raised here or on leaving for an item that came earlier.
        """
        packed = self._packers.submit(lambda: pack_item(tensors()))
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
