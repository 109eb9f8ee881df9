"""Which samples a store folder holds, and where. An index that exists is the commit point of its shard.

Why so: docs/decisions/shards.md.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ltx_core.errors import DamagedError
from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import DigestMemo
from ltx_core.io.table_file import read_table, write_table
from ltx_core.progress import Progress

COLUMNS = ("key", "offset", "size", "sha256", "info")
SHARD_DIGEST, SHARD_SIZE = b"ltx2.shard_sha256", b"ltx2.shard_size"
"""What an index says of its shard, in the table's metadata."""


@dataclass(frozen=True)
class Entry:
    """One sample: `size` bytes of safetensors at `offset` of `shard`."""

    key: str
    shard: Path
    offset: int
    size: int
    sha256: str
    info: Mapping[str, Any]


@dataclass(frozen=True)
class StoreIndex:
    """What was found in a folder: usable samples, and shards that are not whole, with what is wrong with each."""

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

    Bytes are read once for each change of a shard (see `DigestMemo`). A sample in two shards is taken from the first.
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

    `remade`: what happens to the samples of a damaged shard, as a clause for people.
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
