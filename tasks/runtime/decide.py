"""Decide whether a stage must run, and say why. The only place that decides to skip.

Why so: docs/decisions/stage_keys.md.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from datasets_spec.manifest import DIGEST
from datasets_spec.options import with_present_names
from ltx_core.errors import DamagedError
from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import DigestMemo
from ltx_core.io.json_file import parse_object, read_json
from ltx_core.store.shards import read_index
from tasks.runtime.execute import read_summary
from tasks.runtime.stage import Decision, Stage, StageRun, identity_key
from tasks.runtime.workspace import Workspace


class Damage(NamedTuple):
    """One file that cannot be trusted."""

    path: Path
    problem: str
    """The finding, as a clause that names the file."""


def find_damage(stage: Stage[Any, Any], folder: Path, workspace: Workspace, memo: DigestMemo) -> Iterator[Damage]:
    """Yield what is wrong with a finished result. Files whose digest `memo` knows are not read again while they are the
    same.

    The counts, the manifest, the files beside it, and the files and samples in the store that its rows name.
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


UNSETTLED = "files could not be read or changed when it was made, and are looked at again"


FILES = "files"
"""In what a stage observes: files by name."""
ABSENT = "none"
"""The digest of a caption that there is not."""


def decide(run: StageRun[Any]) -> Decision:
    """Compute the key of a stage from what its output depends on, and look whether that output exists."""
    identity = run.identity()
    decision = _decision(run, identity, identity_key(identity))
    run.memo.save()
    return decision


def _decision(run: StageRun[Any], identity: Mapping[str, Any], key: str) -> Decision:
    folder = run.workspace.stage(run.stage.name, key)
    manifest = run.stage.manifest(folder)
    if not manifest.exists():
        return Decision(key, identity, reusable=False, why=_why(run.stage, folder, identity, run.workspace))
    if damage := next(find_damage(run.stage, folder, run.workspace, run.memo), None):
        return Decision(key, identity, reusable=False, why=damage.problem, stale=True)
    if outdated := run.stage.outdated(run, manifest):
        return Decision(key, identity, reusable=False, why=outdated, stale=True)
    if not read_summary(manifest).settled:
        return Decision(key, identity, reusable=False, why=UNSETTLED, stale=True)
    return Decision(key, identity, reusable=True, why="unchanged")


def _why(stage: Stage[Any, Any], folder: Path, identity: Mapping[str, Any], workspace: Workspace) -> str:
    if (folder / "identity.json").exists():
        return "begun, not finished"
    try:
        latest = workspace.latest(stage.name)
        before = read_json(workspace.stage(stage.name, latest) / "identity.json") if latest else None
    except DamagedError:
        unsealed = _unsealed(workspace.root / "stages" / stage.name)
        return _newer_program(unsealed, identity) or "what it last made cannot be read"
    if before is None:
        return "never run"
    if newer := _newer_program(before, identity):
        return newer
    now = json.loads(json.dumps(identity))
    changed = list(dict.fromkeys(_differences((), _shown(before, stage), _shown(now, stage))))
    shown = ", ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")
    return f"changed: {shown}" if changed else "result was deleted"


def _shown(identity: Mapping[str, Any], stage: Stage[Any, Any]) -> dict[str, Any]:
    """An identity with the present names of the options."""
    return dict(identity) | {
        "config": with_present_names(identity.get("config", {}), stage.config, lambda _old, _name: None)
    }


def _unsealed(folder: Path) -> Mapping[str, Any]:
    """An identity among a stage's folders as releases before version 2 wrote it, without a digest: good for telling
    why a stage runs, and for nothing else."""
    for path in find_whole(folder, "*/identity.json"):
        try:
            return parse_object(path.read_bytes())
        except (OSError, ValueError):
            continue
    return {}


def _newer_program(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return which version of the program changed, or an empty string; then all is computed anew, whatever else
    changed."""
    if "version" not in old:
        return ""
    pairs = [("this stage", old["version"], new["version"])]
    pairs += [(name, old.get("subjects", {}).get(name), version) for name, version in new["subjects"].items()]
    changed = [f"{what} changed: {_short(was)} -> {now}" for what, was, now in pairs if was != now]
    return f"the program's version of {changed[0]}" if changed else ""


def _differences(path: tuple[str, ...], old: Any, new: Any) -> Iterator[str]:
    """Where two JSON values differ: files by name, all else by dotted path with short values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences((*path, name), old.get(name), new.get(name))
    elif old != new and FILES in path[:-1]:
        yield _changed_file(path[path.index(FILES) + 1 :], old, new)
    elif old != new:
        yield f"{'.'.join(path)} {_short(old)} -> {_short(new)}"


def _changed_file(path: tuple[str, ...], old: Any, new: Any) -> str:
    """Return what became of a file of the footage, or of what lies beside it; `path` is its name and the part's."""
    what = path[0] if path[1:] in ((), ("media",)) else f"the {path[1]} of {path[0]}"
    if old in (None, ABSENT):
        return f"{what} is new"
    return f"{what} is gone" if new in (None, ABSENT) else f"{what} changed"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 24 else text[:21] + "..."
