"""The guide's `multidatabackend.json`, and what its entries are here."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.guide.dataset_options import DATASET_OPTIONS, MUX
from flows.guide.option import NOT_BUILT, Draft, Option, Refused
from flows.guide.table import unknown
from ltx_core.errors import ConfigError

SECTIONS = ("video", "audio")


def read_backends(path: Path) -> list[dict[str, Any]]:
    """The entries of the file.

    Raises:
        ConfigError: it is no list of entries.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{path} is wanted to hold a list of datasets, each in braces, as in the guide")
    return entries


def datasets(
    entries: Sequence[Mapping[str, Any]], draft: Draft, defaults: Mapping[str, Any], eval_id: str | None
) -> list[dict[str, Any]]:
    """Our datasets; what is to be said of them goes to `draft`.

    `defaults`: options of datasets that name none themselves. `eval_id`: the only one of which clips are held out.
    """
    made = []
    for entry in entries:
        if entry.get("disabled") in (True, "true"):
            continue
        found = _dataset(entry, draft)
        if found is not None:
            made.append(_over(found, defaults))
    if eval_id is not None:
        _hold_out_of(eval_id, made, draft)
    return made


def take_all(table: Mapping[str, Option], draft: Draft, where: str = "") -> None:
    """Take every option of `draft.flat`, in the table's order; faults are collected."""
    draft.faults += [where + unknown(key, dict(table)) for key in draft.flat if key not in table]
    for key, option in table.items():
        if key in draft.flat:
            try:
                option.take(draft, key, draft.flat[key])
            except Refused as refused:
                draft.faults.append(f"{where}option {key!r} {refused}")


def _dataset(entry: Mapping[str, Any], whole: Draft) -> dict[str, Any] | None:
    name = str(entry.get("id", "without an id"))
    own = Draft(_flat(entry))
    kind = entry.get("dataset_type", "video")
    if kind == "audio":
        whole.faults.append(f"dataset {name!r}: a dataset of sound alone is {NOT_BUILT}; {MUX}")
        return None
    if kind == "text_embeds":
        own.flat = {key: value for key, value in own.flat.items() if key != "dataset_type"}
    take_all(DATASET_OPTIONS, own, f"dataset {name!r}: ")
    whole.faults += own.faults
    for line in own.notices:
        key, _, text = line.partition(": ")
        whole.notice(f"dataset {name}, {key}", text)
    if kind == "eval":
        own.set("eval_fraction", 1.0)
    return own.values if kind != "text_embeds" else None


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        if key in SECTIONS and isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat


def _over(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What the dataset says, and the defaults where it says nothing."""
    made = dict(defaults) | dict(own)
    for name in SECTIONS:
        if name in defaults and name in own:
            made[name] = {**defaults[name], **own[name]}
    return made


def _hold_out_of(eval_id: str, made: list[dict[str, Any]], draft: Draft) -> None:
    ids = [dataset.get("id") for dataset in made]
    if eval_id not in ids:
        draft.faults.append(f"option 'eval_dataset_id' is {eval_id!r}; there are {', '.join(map(str, ids))}")
    for dataset in made:
        if dataset.get("id") != eval_id:
            dataset["eval_fraction"] = 0.0
