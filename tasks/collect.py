"""What in a workspace no kept run refers to, and could be deleted."""

import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ltx_core.files.atomic import find_whole
from ltx_core.files.json_file import read_json
from ltx_core.files.vouched import voucher
from tasks import STAGES
from tasks.workspace import QUANTISED_FILE, Workspace

POOLED = (
    "pool/text/*/*.tar",
    "pool/latents/*/*.tar",
    "pool/frames/*/*.tar",
    "pool/renders/*.mp4",
    "pool/renders/*.safetensors",
)
"""Files of items, in a workspace."""


@dataclass(frozen=True)
class Garbage:
    """One file or folder, and its size in bytes."""

    path: Path
    size: int

    def delete(self) -> None:
        """Remove it. An index goes before its shard, so that a killed deletion leaves no index without a shard."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
            return
        self.path.with_suffix(".parquet").unlink(missing_ok=True)
        voucher(self.path).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def find_garbage(workspace: Workspace, keep_runs: int) -> Iterator[Garbage]:
    """What neither the newest `keep_runs` runs nor the latest results refer to.

    Stage folders, shards, renders, and 8-bit weights.
    """
    kept = _kept_keys(workspace, keep_runs)
    used: set[str] = set()
    gone: set[Path] = set()
    for stage in STAGES:
        for folder in find_whole(workspace.root / "stages" / stage.name, "*/"):
            manifest = stage.manifest(folder)
            if (stage.name, folder.name) not in kept and manifest.exists():
                gone.add(folder)
                yield Garbage(folder, _size(folder))
            elif manifest.exists():
                used |= {str(getattr(row, f)) for row in manifest for f in ("shard", "file") if hasattr(row, f)}
    for pattern in POOLED:
        for path in find_whole(workspace.root, pattern):
            if workspace.relative(path.with_suffix(".mp4") if path.suffix == ".safetensors" else path) not in used:
                yield Garbage(path, path.stat().st_size)
    yield from _unread_weights(workspace, gone)


def _unread_weights(workspace: Workspace, gone: Collection[Path]) -> Iterator[Garbage]:
    """8-bit weights that no stage folder but those that are `gone` names; unfinished ones may yet read theirs."""
    named = [path for path in find_whole(workspace.root, f"stages/*/*/{QUANTISED_FILE}") if path.parent not in gone]
    read = {read_json(path)["key"] for path in named}
    for folder in find_whole(workspace.quantised, "*/"):
        if folder.name not in read:
            yield Garbage(folder, _size(folder))


def _kept_keys(workspace: Workspace, keep_runs: int) -> set[tuple[str, str]]:
    records = sorted(find_whole(workspace.runs, "*/run.json"), key=lambda path: path.stat().st_mtime)
    kept = {(stage.name, key) for stage in STAGES if (key := workspace.latest(stage.name))}
    for record in records[len(records) - keep_runs :] if keep_runs else []:
        kept |= set(read_json(record)["stages"].items())
    return kept


def _size(folder: Path) -> int:
    return sum(Path(parent, name).stat().st_size for parent, _, names in os.walk(folder) for name in names)
