"""Decide whether a stage must run, and say why. The only place that decides to skip."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ltx_core.errors import DamagedError
from ltx_core.files.digest import DigestMemo
from ltx_core.files.json_file import read_json
from tasks.damage import damage
from tasks.shared import Shared
from tasks.stage import Inputs, Stage, identity_key
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Decision:
    """A stage's key, and whether its output is there, whole."""

    stage: Stage
    key: str
    folder: Path
    identity: Mapping[str, Any]
    reusable: bool
    why: str
    stale: bool = False
    """The manifest is there, but it is damaged, or a file that belongs to the result is damaged or gone."""


def decide(
    stage: Stage, config: BaseModel, shared: Shared, inputs: Inputs, *, workspace: Workspace, memo: DigestMemo
) -> Decision:
    """Compute the key of a stage from what its output depends on, and look whether that output exists."""
    identity = stage.identity(config, shared, inputs, memo)
    key = identity_key(identity)
    folder = workspace.stage(stage.name, key)
    manifest = stage.manifest(folder)
    if not manifest.exists():
        return Decision(stage, key, folder, identity, reusable=False, why=_why(stage, folder, identity, workspace))
    if problem := damage(stage, folder, workspace, memo):
        return Decision(stage, key, folder, identity, reusable=False, why=problem, stale=True)
    return Decision(stage, key, folder, identity, reusable=True, why="unchanged")


def _why(stage: Stage, folder: Path, identity: Mapping[str, Any], workspace: Workspace) -> str:
    if (folder / "identity.json").exists():
        return "begun, not finished"
    try:
        latest = workspace.latest(stage.name)
        before = read_json(workspace.stage(stage.name, latest) / "identity.json") if latest else None
    except DamagedError:
        return "what it last made cannot be read"
    if before is None:
        return "never run"
    changed = list(_differences("", before, json.loads(json.dumps(identity))))
    shown = ", ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")
    return f"changed: {shown}" if changed else "result was deleted"


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    """Dotted paths at which two JSON values differ, with short values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences(f"{path}.{name}" if path else name, old.get(name), new.get(name))
    elif old != new:
        yield f"{path} {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 24 else text[:21] + "..."
