"""Tar shards of items, each with an index beside it that is its commit point.

Why so: docs/decisions/shards.md.
"""

import json
import os
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from ltx_core.errors import DamagedError
from ltx_core.io.atomic import find_whole, fsync_file, fsync_folder, remove_partials, storage_errors
from ltx_core.io.digest import DigestMemo, file_digest
from ltx_core.io.table_file import read_table, write_table
from ltx_core.progress import Progress

COLUMNS = ("key", "offset", "size", "sha256", "info")
SHARD_DIGEST, SHARD_SIZE = b"ltx2.shard_sha256", b"ltx2.shard_size"
"""The index's description of its shard, in the table's metadata."""


@dataclass(frozen=True)
class Entry:
    """One item: `size` bytes of safetensors at `offset` of `shard`."""

    key: str
    shard: Path
    offset: int
    size: int
    sha256: str
    info: Mapping[str, Any]


@dataclass(frozen=True)
class StoreIndex:
    """The findings in a folder: usable items, and shards that are not whole, with what is wrong with each."""

    entries: Mapping[str, Entry]
    damaged: Mapping[Path, str]


def write_index(shard: Path, digest: str, entries: list[Entry]) -> None:
    """Commit `shard`: write its index beside it, under the same name.

    Raises:
        StorageError: the disk is full.
    """
    table = pa.table(
        {
            "key": [e.key for e in entries],
            "offset": [e.offset for e in entries],
            "size": [e.size for e in entries],
            "sha256": [e.sha256 for e in entries],
            "info": [json.dumps(e.info, sort_keys=True) for e in entries],
        }
    ).replace_schema_metadata({SHARD_DIGEST: digest, SHARD_SIZE: str(shard.stat().st_size)})
    write_table(shard.with_suffix(".parquet"), table)


def read_index(folder: Path, memo: DigestMemo) -> StoreIndex:
    """Read every index of `folder` and check its shard: there, of the right size, of the right bytes.

    Bytes are read once for each change of a shard (see `DigestMemo`). An item in two shards is taken from the first.
    """
    entries: dict[str, Entry] = {}
    damaged: dict[Path, str] = {}
    for index in find_whole(folder, "*.parquet"):
        shard = index.with_suffix(".tar")
        try:
            table = read_table(index, COLUMNS)
        except DamagedError as error:
            damaged[shard] = f"its index {error.found}"
            continue
        if problem := _problem(shard, table.schema.metadata or {}, memo):
            damaged[shard] = problem
            continue
        for row in table.to_pylist():
            info = json.loads(row.pop("info"))
            entries.setdefault(row["key"], Entry(shard=shard, info=info, **row))
    return StoreIndex(entries, damaged)


def mended_index(folder: Path, memo: DigestMemo, progress: Progress, remade: str) -> StoreIndex:
    """`read_index`, saying what is damaged and removing it; the caller holds the folder's lock and makes it again.

    `remade`: what happens to the items of a damaged shard, as a clause for people.
    """
    index = read_index(folder, memo)
    memo.save()
    for shard, problem in index.damaged.items():
        progress.note(f"{shard.name} is damaged ({problem}); {remade}")
        shard.with_suffix(".parquet").unlink(missing_ok=True)
        shard.unlink(missing_ok=True)
    return index


def _problem(shard: Path, metadata: Mapping[bytes, bytes], memo: DigestMemo) -> str:
    """Return what is wrong with a shard, or an empty string."""
    if not shard.exists():
        return "the file is gone"
    if not {SHARD_DIGEST, SHARD_SIZE} <= metadata.keys():
        return "its index names no shard"
    size, wanted = shard.stat().st_size, int(metadata[SHARD_SIZE])
    if size != wanted:
        return f"it has {size} bytes, its index says {wanted}"
    if memo.get(shard, watch=False) != metadata[SHARD_DIGEST].decode():
        return "its bytes are not those its index names"
    return ""


@dataclass(frozen=True)
class ShardLimits:
    """When a shard closes; whichever comes first. A crash loses at most the open shard."""

    max_bytes: int = 256 * 2**20
    max_seconds: float = 60.0
    max_items: int = 4096


class ShardWriter:
    """Collects items and writes them as one WebDataset tar plus its index; use as a context manager.

    The caller holds the folder's lock. Leaving the block commits the open shard, after any error too: every item in it
    was handed over whole, and another item's error makes it no less usable, so the next run need not compute it again.
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
        """Take one item: safetensors bytes, their digest, and what is to be known without reading them.

        Raises:
            StorageError: the disk is full; items committed before are kept.
        """
        if not self._open:
            self._opened_at = time.monotonic()
        self._open.append((key, data, sha256, info))
        limits = self.limits
        if (
            sum(len(data) for _, data, _, _ in self._open) >= limits.max_bytes
            or time.monotonic() - self._opened_at >= limits.max_seconds
            or len(self._open) >= limits.max_items
        ):
            self.commit()

    def commit(self) -> None:
        """Write what is open as a shard: tar first, index last."""
        if not self._open:
            return
        items, self._open = self._open, []
        partial = self.folder / f".partial-{os.getpid()}.tar"
        with storage_errors(partial):
            try:
                _write_tar(partial, items)
                fsync_file(partial)
                digest, places = file_digest(partial), _places(partial)
                shard = self.folder / f"{self._next_number():06d}-{digest[:12]}.tar"
                partial.rename(shard)
                fsync_folder(self.folder)
            finally:
                partial.unlink(missing_ok=True)
        entries = [Entry(key, shard, *places[key], sha256=sha256, info=dict(info)) for key, _, sha256, info in items]
        write_index(shard, digest, entries)
        self.committed |= {entry.key: entry for entry in entries}

    def _next_number(self) -> int:
        return max((int(p.name[:6]) for p in find_whole(self.folder, "[0-9]*.parquet")), default=-1) + 1


def _write_tar(path: Path, items: list[tuple[str, bytes, str, Mapping[str, Any]]]) -> None:
    """A plain WebDataset tar with fixed times, so that the same items give the same bytes."""
    import webdataset  # imports torch, which planning does not need

    with path.open("wb") as out, webdataset.TarWriter(out, mtime=0, compress=False, encoder=False) as tar:
        for key, data, _, info in items:
            tar.write({"__key__": key, "safetensors": data, "json": json.dumps(info, sort_keys=True).encode()})


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Offset and size of each item's tensors, by key."""
    with tarfile.open(path) as tar:
        return {
            member.name.removesuffix(".safetensors"): (member.offset_data, member.size)
            for member in tar
            if member.name.endswith(".safetensors")
        }
