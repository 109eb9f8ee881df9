"""Whether a stage's result is there as it was written, down to the files in the pool that its rows name."""

from collections.abc import Iterator
from pathlib import Path

from ltx_core.errors import DamagedError
from ltx_core.files.digest import DigestMemo
from ltx_core.pool.index import read_index
from tasks.stage import Stage
from tasks.summary import read_summary
from tasks.workspace import Workspace


def damage(stage: Stage, folder: Path, workspace: Workspace, memo: DigestMemo) -> str:
    """The first thing that is wrong with a finished result, as a clause for people; empty if it is whole.

    Files whose digest `memo` knows are not read again while their size and times are the same.
    """
    try:
        summary, table = read_summary(stage.manifest(folder)), stage.manifest(folder).table()
    except DamagedError as error:
        return error.found
    own = ((folder / name, name, digest) for name, digest in summary.files.items())
    columns = table.to_pydict()
    named: Iterator[tuple[Path, str, str]] = iter(())
    if "file" in columns and "sha256" in columns:
        pairs = zip(columns["file"], columns["sha256"], strict=True)
        named = ((workspace.root / name, name, digest) for name, digest in pairs)
    for files in (own, named):
        for path, name, digest in files:
            if not path.is_file():
                return f"{name} is gone"
            if memo.get(path) != digest:
                return f"{name} has other bytes than were written"
    return _damaged_sample(columns, workspace, memo) if "shard" in columns else ""


def _damaged_sample(columns: dict[str, list[object]], workspace: Workspace, memo: DigestMemo) -> str:
    """The same of the samples that rows name, by the indexes of their shards."""
    rows = set(zip(*(columns[name] for name in ("shard", "offset", "size", "sha256")), strict=True))
    shards = sorted({str(shard) for shard in columns["shard"]})
    if lost := [name for name in shards if not (workspace.root / name).is_file()]:
        return f"{lost[0]} is gone"
    for folder in sorted({(workspace.root / name).parent for name in shards}):
        index = read_index(folder, memo)
        rows -= {(workspace.relative(e.shard), e.offset, e.size, e.sha256) for e in index.entries.values()}
    if not rows:
        return ""
    return f"{min(str(shard) for shard, *_ in rows)} is damaged, or its index is"
