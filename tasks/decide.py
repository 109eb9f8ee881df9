"""Decide whether a stage must run, and say why. The only place that decides to skip.

Why so: docs/decisions/stage_keys.md.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ltx_core.errors import DamagedError
from ltx_core.files.atomic import find_whole
from ltx_core.files.digest import DigestMemo
from ltx_core.files.json_file import parse_object, read_json
from tasks.damage import find_damage
from tasks.stage import Stage, identity_key
from tasks.stage_run import Decision, StageRun
from tasks.summary import read_summary
from tasks.workspace import Workspace

UNSETTLED = "files could not be read or changed when it was made, and are looked at again"


FILES = "files"
"""In what a stage observes: files by name."""
ABSENT = "none"
"""The digest of a caption that there is not."""


def decide(run: StageRun, memo: DigestMemo) -> Decision:
    """Compute the key of a stage from what its output depends on, and look whether that output exists."""
    identity = run.identity(memo)
    key = identity_key(identity)
    folder = run.workspace.stage(run.stage.name, key)
    manifest = run.stage.manifest(folder)
    if not manifest.exists():
        return Decision(key, identity, reusable=False, why=_why(run.stage, folder, identity, run.workspace))
    if damage := next(find_damage(run.stage, folder, run.workspace, memo), None):
        return Decision(key, identity, reusable=False, why=damage.problem, stale=True)
    if not read_summary(manifest).settled:
        return Decision(key, identity, reusable=False, why=UNSETTLED, stale=True)
    return Decision(key, identity, reusable=True, why="unchanged")


def _why(stage: Stage, folder: Path, identity: Mapping[str, Any], workspace: Workspace) -> str:
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
    changed = list(dict.fromkeys(_differences((), before, json.loads(json.dumps(identity)))))
    shown = ", ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")
    return f"changed: {shown}" if changed else "result was deleted"


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
    """Which version of the program changed, or an empty string; then all is computed anew, whatever else changed."""
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
    """What became of a file of the footage, or of what lies beside it; `path` is its name and the part's."""
    what = path[0] if path[1:] in ((), ("media",)) else f"the {path[1]} of {path[0]}"
    if old in (None, ABSENT):
        return f"{what} is new"
    return f"{what} is gone" if new in (None, ABSENT) else f"{what} changed"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 24 else text[:21] + "..."
