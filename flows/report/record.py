"""`runs/RUN/run.json`: what is kept of a run, and what differs between a run and the one before it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from datasets_spec.options import present_path, section
from flows.config import RunConfig
from ltx_core.errors import DamagedError
from ltx_core.io.atomic import find_whole
from ltx_core.io.json_file import read_json
from tasks.runtime.workspace import Workspace
from tasks.tracking.mlflow import flatten

RECORD = "run.json"
PAGE = "index.html"
MOST_NAMED = 3
"""Differences that a run's name has; more are counted."""
LABELS = {
    "train_lora.rank": "rank {}",
    "train_lora.steps": "{} steps",
    "train_lora.learning_rate": "learning rate {}",
    "train_lora.batch_size": "batch size {}",
}
"""Options with words of their own in the name of a run; others have the last part of their name, and the value."""
OF_NO_RESULT = ("tracking.", "memory.", "limits.")
"""Sections that leave the result as it is; they are in no name."""
LONGEST_VALUE = 24
REQUIRED = object()
"""In place of a default."""

Settings = Mapping[str, Any]
"""Dotted name to value, as JSON has it."""


@dataclass(frozen=True)
class EarlierRun:
    """A run of the past, as its record has it."""

    name: str
    settings: Settings
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """One option that differs from the run before; None where a run has no such option."""

    option: str
    before: Any
    now: Any


def flat_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted names, as they are read back from a record."""
    plain: dict[str, Any] = json.loads(json.dumps(flatten(values)))
    return plain


def record_before(workspace: Workspace, name: str) -> EarlierRun | None:
    """The newest other run of the workspace that ended well; None if there is none, or its record is damaged."""
    found = [path for path in find_whole(workspace.runs, f"*/{RECORD}") if path.parent.name != name]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        if (record := _read(path)) is not None:
            return record
    return None


def _read(path: Path) -> EarlierRun | None:
    try:
        kept = read_json(path)
    except DamagedError:  # `ltx2-lora verify` tells; a report needs it for a comparison alone
        return None
    if "settings" not in kept:  # of an earlier release
        return None
    settings = {".".join(present_path(name.split("."), RunConfig)): value for name, value in kept["settings"].items()}
    return EarlierRun(path.parent.name, settings, kept["figures"])


def changes(before: Settings, now: Settings) -> list[Change]:
    """Options that differ, in the order of the configuration; then those that are gone. An option that the program did
    not have at the time of the earlier run differs if it is not at its default."""
    names = [*now, *(name for name in before if name not in now)]
    return [
        Change(name, before.get(name), now.get(name))
        for name in names
        if (before.get(name) != now.get(name) or (name in before) != (name in now))
        and not (_is_new_option(name, before) and now[name] == _default(name))
    ]


def _is_new_option(name: str, before: Settings) -> bool:
    """True if the run had neither this option nor, in its place, a section that was off."""
    parts = name.split(".")
    return not any(".".join(parts[:length]) in before for length in range(1, len(parts) + 1))


def _default(name: str) -> Any:
    """Default of an option, as a record has it; `REQUIRED` for one without."""
    *sections, option = [part for part in name.split(".") if not part.isdigit()]
    here: type[BaseModel] | None = RunConfig
    for part in sections:
        field = here.model_fields.get(part) if here else None
        here = section(field.annotation) if field else None
    found = here.model_fields.get(option) if here else None
    if found is None or found.is_required():
        return REQUIRED
    value = found.get_default(call_default_factory=True)
    return json.loads(json.dumps(value, default=str))


def run_label(now: Settings, before: EarlierRun | None, num_clips: int | None = None) -> str:
    """Name of a run, made of what differs from the run before: "rank 64, 24 clips".

    `num_clips`: None while it is not known.
    """
    if before is None:
        parts = [_label(name, now[name]) for name in ("train_lora.rank", "train_lora.steps") if name in now]
    else:
        of_result = [c for c in changes(before.settings, now) if not c.option.startswith(OF_NO_RESULT)]
        named = sorted((c for c in of_result if c.option in now), key=lambda change: change.option not in LABELS)
        parts = [_label(change.option, change.now) for change in named[:MOST_NAMED]]
        if left := len(of_result) - len(parts):
            parts.append(f"{left} more" if parts else "without earlier options")
        parts = parts or ["same settings"]
    if num_clips is not None:
        parts.append(f"{num_clips} clip{'' if num_clips == 1 else 's'}")
    return ", ".join(parts)


def _label(option: str, value: Any) -> str:
    """An option and its value in few words."""
    text = value if isinstance(value, str) else json.dumps(value)
    short = text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
    known = LABELS.get(option)
    return known.format(short) if known else f"{option.rpartition('.')[2].replace('_', ' ')} {short}"
