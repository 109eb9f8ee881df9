"""Files of a workspace that no kept run refers to, and their deletion while other runs may be at work.

Nothing is deleted but under the lock of the folder that holds it, and what is in use is asked again while it is held. A
stage that runs holds the lock of its own folder. Before it takes that of a store folder it says in its own which one
that is; so a stage that is not finished, at work or killed, keeps what it may refer to.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import Any, TypeVar

from ltx_core.errors import DamagedError
from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import voucher
from ltx_core.io.json_file import read_json
from ltx_core.io.lock import try_folder_lock
from tasks import STAGES, stage_named
from tasks.runtime.stage import Stage
from tasks.runtime.workspace import QUANTISED_FILE, STORE_FILE, Workspace

DAY_SECONDS = 86_400.0
ITEMS = ("*.tar", "*.mp4", "*.safetensors")
"""Files of items in a folder of the store; what lies beside them goes with them."""
ENDINGS = tuple(pattern.removeprefix("*") for pattern in ITEMS)
FOLDERS = tuple(f"{PurePath(stage.items).parent}/" for stage in STAGES if stage.items.endswith(ENDINGS))
"""Folders of the store whose items are large; those in JSON stay."""
PARTIAL = (".partial-", ".partial")
"""Beginnings and endings of the names of partial files."""


T = TypeVar("T")


@dataclass(frozen=True)
class Garbage:
    """One file or folder, and its size in bytes."""

    path: Path
    size: int

    def delete(self) -> None:
        """Remove it. An index goes before its shard, so that a killed deletion leaves no index without a shard; a
        folder loses its name first, so that a killed deletion leaves no half of it."""
        if self.path.is_dir():
            doomed = self.path.rename(self.path.with_name(f".partial-removed-{os.getpid()}-{self.path.name}"))
            shutil.rmtree(doomed)
            return
        self.path.with_suffix(".parquet").unlink(missing_ok=True)
        voucher(self.path).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def find_garbage(workspace: Workspace, keep_runs: int, min_age: float = 0.0) -> Iterator[Garbage]:
    """Yield what neither the newest `keep_runs` runs, nor the latest results, nor unfinished stages refer to, and what
    was not written or used for `min_age` seconds; and partial files that were left a day ago.

    Stage folders, shards, renders, and 8-bit weights.
    """
    for _, find in _places(workspace, keep_runs, time.time() - min_age):
        yield from find()
    yield from _partials(workspace)


def delete_garbage(workspace: Workspace, keep_runs: int, min_age: float = DAY_SECONDS) -> Iterator[Garbage]:
    """Delete what `find_garbage` finds, each folder's while its lock is held; one that is in use is left."""
    for folder, find in _places(workspace, keep_runs, time.time() - min_age):
        with try_folder_lock(folder) as held:
            for item in find() if held else ():
                item.delete()
                yield item
    for item in _partials(workspace):
        item.delete()
        yield item


Find = Callable[[], Iterator[Garbage]]


def _places(workspace: Workspace, keep_runs: int, before: float) -> Iterator[tuple[Path, Find]]:
    """Folders whose locks guard what may be garbage, each with a search that looks anew what is in use."""
    for stage, folder in _stage_folders(workspace):
        yield folder, partial(_stage, workspace, keep_runs, before, stage, folder)
    for pattern in FOLDERS:
        for folder in find_whole(workspace.store, pattern):
            yield folder, partial(_pooled, workspace, keep_runs, before, folder)
    for folder in find_whole(workspace.quantised, "*/"):
        yield folder, partial(_quantised, workspace, keep_runs, before, folder)


@dataclass
class _Kept:
    """Paths that must stay."""

    keys: set[tuple[str, str]]
    """Stages and keys."""
    files: set[str] = field(default_factory=set)
    """In the store, relative to the workspace."""
    folders: set[str] = field(default_factory=set)
    """Of the store, with all they hold."""


def _kept_stages(workspace: Workspace, keep_runs: int) -> _Kept:
    """Stages that stay, without what they refer to: that takes reading every manifest, for each folder that is asked
    about."""
    kept = _Kept(_kept_keys(workspace, keep_runs))
    for stage, folder in _stage_folders(workspace):
        if not stage.manifest(folder).exists():
            _keep_for_unfinished(stage, folder, kept, workspace)
    return kept


def _kept(workspace: Workspace, keep_runs: int) -> _Kept:
    kept = _kept_stages(workspace, keep_runs)
    for stage, folder in _stage_folders(workspace):
        if (stage.name, folder.name) in kept.keys and stage.manifest(folder).exists():
            _keep_for_finished(stage, folder, kept)
    return kept


def _stage_folders(workspace: Workspace) -> list[tuple[Stage[Any, Any], Path]]:
    return [(s, f) for s in STAGES for f in find_whole(workspace.root / "stages" / s.name, "*/")]


def _keep_for_unfinished(stage: Stage[Any, Any], folder: Path, kept: _Kept, workspace: Workspace) -> None:
    """The inputs and results so far of a stage that is at work, or was killed and may go on."""
    inputs: Mapping[str, Any] = (_json(folder / "identity.json") or {}).get("inputs", {})
    for name, digest in inputs.items():
        makes = stage_named(name)
        for made in find_whole(workspace.root / "stages" / name, "*/"):
            if makes.manifest(made).exists() and (name in stage.reads or _digest(makes, made) in (digest, None)):
                kept.keys.add((name, made.name))
    if noted := _json(folder / STORE_FILE):
        kept.folders.add(str(noted["folder"]))
    if noted := _json(folder / QUANTISED_FILE):
        kept.folders.add(f"pool/quantised/{noted['key']}")


def _keep_for_finished(stage: Stage[Any, Any], folder: Path, kept: _Kept) -> None:
    if noted := _json(folder / QUANTISED_FILE):
        kept.folders.add(f"pool/quantised/{noted['key']}")
    try:
        columns = stage.manifest(folder).table().to_pydict()
    except DamagedError:  # it will be made again, from what is in the store
        if noted := _json(folder / STORE_FILE):
            kept.folders.add(str(noted["folder"]))
        return
    kept.files |= {str(name) for field in ("shard", "file") for name in columns.get(field, ())}


def _stage(
    workspace: Workspace, keep_runs: int, before: float, stage: Stage[Any, Any], folder: Path
) -> Iterator[Garbage]:
    manifest = stage.manifest(folder)
    if not manifest.exists() or manifest.path.stat().st_mtime > before:
        return
    if (stage.name, folder.name) not in _kept_stages(workspace, keep_runs).keys:
        yield Garbage(folder, _size(folder))


def _pooled(workspace: Workspace, keep_runs: int, before: float, folder: Path) -> Iterator[Garbage]:
    kept = _kept(workspace, keep_runs)
    if workspace.relative(folder) in kept.folders:
        return
    for path in [path for pattern in ITEMS for path in find_whole(folder, pattern)]:
        named = workspace.relative(path.with_suffix(".mp4") if path.suffix == ".safetensors" else path)
        if path.is_file() and named not in kept.files and path.stat().st_mtime <= before:
            yield Garbage(path, path.stat().st_size)


def _quantised(workspace: Workspace, keep_runs: int, before: float, folder: Path) -> Iterator[Garbage]:
    written = [path.stat().st_mtime for path in find_whole(folder, "*")]
    if max(written, default=0.0) > before:
        return
    if workspace.relative(folder) not in _kept(workspace, keep_runs).folders:
        yield Garbage(folder, _size(folder))


def _partials(workspace: Workspace) -> Iterator[Garbage]:
    """Yield what killed writers left, a day old whatever age is asked for: a younger one may be at work."""
    before = time.time() - DAY_SECONDS
    for parent, folders, names in os.walk(workspace.root):
        for name in [*folders, *names]:
            path = Path(parent, name)
            left = name.startswith(PARTIAL[0]) or (name.startswith(".") and name.endswith(PARTIAL[1]))
            if left and path.lstat().st_mtime <= before:
                yield Garbage(path, _size(path) if path.is_dir() else path.lstat().st_size)
        folders[:] = [name for name in folders if not name.startswith(PARTIAL[0])]


def _kept_keys(workspace: Workspace, keep_runs: int) -> set[tuple[str, str]]:
    records = sorted(find_whole(workspace.runs, "*/run.json"), key=lambda path: path.stat().st_mtime)
    kept = {(stage.name, key) for stage in STAGES if (key := _or_none(partial(workspace.latest, stage.name)))}
    for record in records[len(records) - keep_runs :] if keep_runs else []:
        kept |= set((_json(record) or {}).get("stages", {}).items())
    return kept


def _json(path: Path) -> dict[str, Any] | None:
    """A small file of ours; None without one that can be read."""
    return _or_none(lambda: read_json(path))


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except DamagedError:
        return None


def _digest(stage: Stage[Any, Any], folder: Path) -> str | None:
    """Of the manifest; None if it is damaged, and then nobody knows whose it is."""
    return _or_none(lambda: stage.manifest(folder).digest)


def _size(folder: Path) -> int:
    return sum(Path(parent, name).lstat().st_size for parent, _, names in os.walk(folder) for name in names)
