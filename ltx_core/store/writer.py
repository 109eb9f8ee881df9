"""Write samples into shards that a crash cannot tear: a sample is there whole or not at all."""

import json
import os
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ltx_core.io.atomic import find_whole, fsync_file, fsync_folder, remove_partials, storage_errors
from ltx_core.io.digest import file_digest
from ltx_core.store.index import Entry, write_index


@dataclass(frozen=True)
class ShardLimits:
    """When a shard closes; whichever comes first. A crash loses at most the open shard."""

    max_bytes: int = 256 * 2**20
    max_seconds: float = 60.0
    max_samples: int = 4096


class ShardWriter:
    """Collects samples and writes them as one WebDataset tar plus its index; use as a context manager.

    The caller holds the folder's lock. Leaving the block without an error, or with `Stopped`, commits the open shard.
    """

    def __init__(self, folder: Path, limits: ShardLimits) -> None:
        self.folder = folder
        self.limits = limits
        self.committed: dict[str, Entry] = {}
        self._open: list[tuple[str, bytes, str, Mapping[str, Any]]] = []
        self._opened_at = 0.0

    def __enter__(self) -> "ShardWriter":
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_partials(self.folder)
        for tar in find_whole(self.folder, "*.tar"):
            if not tar.with_suffix(".parquet").exists():
                tar.unlink()  # renamed, then killed before its index: nothing refers to it
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.commit()

    def add(self, key: str, data: bytes, sha256: str, info: Mapping[str, Any]) -> None:
        """Take one sample: safetensors bytes, their digest, and what is to be known without reading them.

        Raises:
            StorageError: the disk is full; samples committed before are kept.
        """
        if not self._open:
            self._opened_at = time.monotonic()
        self._open.append((key, data, sha256, info))
        limits = self.limits
        if (
            sum(len(data) for _, data, _, _ in self._open) >= limits.max_bytes
            or time.monotonic() - self._opened_at >= limits.max_seconds
            or len(self._open) >= limits.max_samples
        ):
            self.commit()

    def commit(self) -> None:
        """Write what is open as a shard: tar first, index last."""
        if not self._open:
            return
        samples, self._open = self._open, []
        partial = self.folder / f".partial-{os.getpid()}.tar"
        with storage_errors(partial):
            try:
                _write_tar(partial, samples)
                fsync_file(partial)
                digest, places = file_digest(partial), _places(partial)
                shard = self.folder / f"{self._next_number():06d}-{digest[:12]}.tar"
                partial.rename(shard)
                fsync_folder(self.folder)
            finally:
                partial.unlink(missing_ok=True)
        entries = [Entry(key, shard, *places[key], sha256=sha256, info=dict(info)) for key, _, sha256, info in samples]
        write_index(shard, digest, entries)
        self.committed |= {entry.key: entry for entry in entries}

    def _next_number(self) -> int:
        return max((int(p.name[:6]) for p in find_whole(self.folder, "[0-9]*.parquet")), default=-1) + 1


def _write_tar(path: Path, samples: list[tuple[str, bytes, str, Mapping[str, Any]]]) -> None:
    """A plain WebDataset tar with fixed times, so that the same samples give the same bytes."""
    import webdataset  # imports torch, which planning does not need

    with path.open("wb") as out, webdataset.TarWriter(out, mtime=0, compress=False, encoder=False) as tar:
        for key, data, _, info in samples:
            tar.write({"__key__": key, "safetensors": data, "json": json.dumps(info, sort_keys=True).encode()})


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Offset and size of each sample's tensors, by key."""
    with tarfile.open(path) as tar:
        return {
            member.name.removesuffix(".safetensors"): (member.offset_data, member.size)
            for member in tar
            if member.name.endswith(".safetensors")
        }
