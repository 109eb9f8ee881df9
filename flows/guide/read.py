"""The guide's `config.json`, with its datasets, as a configuration of ours."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.guide.datasets import datasets, read_backends, take_all
from flows.guide.lycoris import is_lycoris, read_lycoris
from flows.guide.option import Draft
from flows.guide.table import OPTIONS
from ltx_core.checkpoint.flavours import ALIASES, FLAVOURS
from ltx_core.errors import ConfigError

DEFAULTS = {"lora_rank": 16, "caption_dropout_probability": 0.1}
"""What the guide's program takes where a file says nothing, and this one would take something else."""
BACKENDS = "data_backend_config"


@dataclass(frozen=True)
class Translation:
    """A file of the guide in our terms."""

    values: dict[str, Any]
    """As one would write them in YAML."""
    root: Path
    """What its paths are relative to."""
    notices: tuple[str, ...]
    """What is done differently, or not at all."""


def is_guide(values: Mapping[str, Any], ours: Collection[str]) -> bool:
    """Whether a file is written with the guide's options; `ours`: names of our sections."""
    names = {_bare(key) for key in values}
    return bool(names & OPTIONS.keys()) and not names & set(ours)


def translate(values: Mapping[str, Any], path: Path) -> Translation:
    """The file in our terms.

    Raises:
        ConfigError: an option is unknown, or its value has no meaning here; names all of them.
    """
    draft = Draft(_flat(values, path))
    for key, value in DEFAULTS.items():
        if key not in draft.flat and not (key == "lora_rank" and is_lycoris(draft)):
            draft.flat = {**draft.flat, key: value}
            draft.notice(key, f"left out, so {value} as in the guide's program")
    take_all(OPTIONS, draft)
    root = _project(draft, path)
    defaults = draft.values.pop("defaults", {})
    eval_id = defaults.pop("eval_dataset_id", None)
    if root is not None:
        read_lycoris(draft, root)
        entries = read_backends(root / str(draft.flat[BACKENDS]))
        draft.values["datasets"] = datasets(entries, draft, defaults, eval_id)
    _name_the_model(draft)
    if draft.faults or root is None:
        several = len(draft.faults) > 1
        raise ConfigError(
            f"{path}: " + ("\n  ".join(["several options are wrong:", *draft.faults]) if several else draft.faults[0])
        )
    return Translation(draft.values, root, tuple(draft.notices))


def _bare(key: object) -> str:
    return str(key).lstrip("-")


def _flat(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Options by name without leading dashes; null is the guide's program's word for one that is not set.

    Raises:
        ConfigError: one is given with and without them.
    """
    flat = {_bare(key): value for key, value in values.items() if value is not None}
    twice = next((name for name in flat if name in values and f"--{name}" in values), None)
    if twice is not None:
        raise ConfigError(f"{path}: option {twice!r} is given with and without `--`; keep one of them")
    return flat


def _project(draft: Draft, path: Path) -> Path | None:
    """The nearest folder at or above the file in which the datasets are found where it says; None with a fault."""
    named = draft.flat.get(BACKENDS)
    if not isinstance(named, str) or not named:
        draft.faults.append(f"option {BACKENDS!r} is missing; name the file of datasets (multidatabackend.json)")
        return None
    start = path.resolve().parent
    for folder in (start, *start.parents):
        if (folder / named).is_file():
            return folder
    draft.faults.append(f"option {BACKENDS!r} is {named!r}, which is not in {start} nor in a folder above it")
    return None


def _name_the_model(draft: Draft) -> None:
    name = str(draft.get("model.flavour") or "dev")
    known = FLAVOURS.get(ALIASES.get(name, name))
    if draft.get("model.checkpoint") is None and known is not None:
        draft.set("model.checkpoint", known.repository)
