"""Whether a stage's result is there as it was written, down to the files in the pool that its rows name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from datasets_spec.manifest import DIGEST
from ltx_core.errors import DamagedError
from ltx_core.files.digest import DigestMemo
from ltx_core.pool.index import read_index
from tasks.stage import Stage
from tasks.summary import read_summary
from tasks.workspace import Workspace


class Damage(NamedTuple):
    """One file that cannot be trusted."""

    path: Path
    problem: str
    """What was found, as a clause that names the file."""


def find_damage(stage: Stage, folder: Path, workspace: Workspace, memo: DigestMemo) -> Iterator[Damage]:
    """What is wrong with a finished result. Files whose digest `memo` knows are not read again while they are the same.

    The counts, the manifest, the files beside it, and the files and samples in the pool that its rows name.
    """
    manifest, columns, counted = stage.manifest(folder), dict[str, list[Any]](), ""
    try:
        summary = read_summary(manifest)
    except DamagedError as error:
        yield Damage(folder / "summary.json", error.found)
    else:
        counted = summary.rows
        yield from _damaged_files({folder / name: digest for name, digest in summary.files.items()}, workspace, memo)
    try:
        table = manifest.table()
        columns = table.to_pydict()
        if counted and table.schema.metadata[DIGEST.encode()].decode() != counted:
            yield Damage(manifest.path, f"{workspace.relative(manifest.path)} holds other rows than were written")
    except DamagedError as error:
        yield Damage(manifest.path, error.found)
    if {"file", "sha256"} <= columns.keys():
        named = zip(columns["file"], columns["sha256"], strict=True)
        yield from _damaged_files({workspace.root / name: digest for name, digest in named}, workspace, memo)
    if "shard" in columns:
        yield from _damaged_shards(columns, workspace, memo)


def _damaged_files(digests: dict[Path, str], workspace: Workspace, memo: DigestMemo) -> Iterator[Damage]:
    for path, digest in digests.items():
        name = path.relative_to(workspace.root).as_posix()
        if not path.is_file():
            yield Damage(path, f"{name} is gone")
        elif memo.get(path) != digest:
            yield Damage(path, f"{name} has other bytes than were written")


def _damaged_shards(columns: dict[str, list[Any]], workspace: Workspace, memo: DigestMemo) -> Iterator[Damage]:
    """Shards of which a sample that rows name is not what the shard's index says."""
    rows = set(zip(*(columns[name] for name in ("shard", "offset", "size", "sha256")), strict=True))
    for folder in sorted({(workspace.root / shard).parent for shard in columns["shard"]}):
        index = read_index(folder, memo)
        rows -= {(workspace.relative(e.shard), e.offset, e.size, e.sha256) for e in index.entries.values()}
    for shard in sorted({row[0] for row in rows}):
        path = workspace.root / shard
        yield Damage(path, f"{shard} is damaged, or its index is" if path.is_file() else f"{shard} is gone")
