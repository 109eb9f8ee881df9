"""The guide's `multidatabackend.json`, and what its entries are here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.documents import read_document
from flows.guide.dataset_options import DATASET_OPTIONS, SOUND_OF
from flows.guide.option import Draft, Option, Refused
from flows.guide.table import unknown
from flows.guide.take import flag
from ltx_core.errors import ConfigError

SECTIONS = ("video", "audio")
OF_VIDEOS = {"probability", "repeats"}
"""Options that have no meaning for sounds that belong to videos."""


def read_backends(path: Path) -> list[dict[str, Any]]:
    """The entries of the file.

    Raises:
        ConfigError: it is no list of entries.
    """
    entries = read_document(path, "file of datasets")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{path} is wanted to hold a list of datasets, each in braces, as in the guide")
    return entries


def datasets(
    entries: Sequence[Mapping[str, Any]], draft: Draft, defaults: Mapping[str, Any], eval_id: str | None
) -> list[dict[str, Any]]:
    """Our datasets; what is to be said of them goes to `draft`.

    `defaults`: options of datasets that name none themselves. `eval_id`: the only one of which clips are held out.
    """
    enabled = [entry for entry in entries if not _disabled(entry, draft)]
    sounds = {str(entry.get("id")): _sounds(entry, draft) for entry in enabled if entry.get("dataset_type") == "audio"}
    made = []
    for entry in enabled:
        found = None if entry.get("dataset_type") == "audio" else _dataset(entry, draft)
        if found is not None:
            made.append(_without_idle_prompt(_over(found, defaults), draft))
    _link(made, sounds, draft)
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


def _disabled(entry: Mapping[str, Any], draft: Draft) -> bool:
    try:
        return flag(entry.get("disabled"))
    except Refused as refused:
        draft.faults.append(f"dataset {entry.get('id', 'without an id')!r}: option 'disabled' {refused}")
        return True


def _dataset(entry: Mapping[str, Any], whole: Draft) -> dict[str, Any] | None:
    name = str(entry.get("id", "without an id"))
    own = Draft(_flat(entry))
    kind = entry.get("dataset_type", "video")
    if kind == "text_embeds":
        own.flat = {key: value for key, value in own.flat.items() if key != "dataset_type"}
    take_all(DATASET_OPTIONS, own, f"dataset {name!r}: ")
    _tell(name, own, whole)
    if kind == "eval":
        own.set("eval_fraction", 1.0)
    return own.values if kind != "text_embeds" else None


def _sounds(entry: Mapping[str, Any], whole: Draft) -> dict[str, Any]:
    """Of a dataset of sounds: `sound_dir`, and `channels` if it says."""
    name = str(entry.get("id", "without an id"))
    flat = _flat(entry)
    own = Draft({key: value for key, value in flat.items() if key not in OF_VIDEOS})
    take_all(DATASET_OPTIONS, own, f"dataset {name!r}: ")
    for key in OF_VIDEOS & flat.keys():
        own.notice(key, "has no effect: a sound is visited with its video")
    _tell(name, own, whole)
    channels = own.get("audio.channels")
    return {"sound_dir": own.get("instance_data_dir")} | ({} if channels is None else {"channels": channels})


def _link(made: list[dict[str, Any]], sounds: Mapping[str, Mapping[str, Any]], draft: Draft) -> None:
    """Give datasets of videos the folder of the sounds that they name."""
    named = [dataset.pop(SOUND_OF, None) for dataset in made]
    for dataset, name in zip(made, named, strict=True):
        if name in sounds:
            dataset["audio"] = {**dataset.get("audio", {}), "auto_split": True, **sounds[name]}
        elif name is not None:
            known = ", ".join(sounds) or "none"
            draft.faults.append(
                f"dataset {dataset.get('id')!r}: option 's2v_datasets' names {name!r}; datasets of sound are: {known}"
            )
    for name in sorted(sounds.keys() - set(named)):
        draft.faults.append(
            f"dataset {name!r}: sound without videos is not trained; name it in the s2v_datasets of a dataset of "
            "videos, or disable it"
        )


def _tell(name: str, own: Draft, whole: Draft) -> None:
    """What is to be said of one dataset."""
    whole.faults += own.faults
    for line in own.notices:
        key, _, text = line.partition(": ")
        whole.notice(f"dataset {name}, {key}", text)


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        if key in SECTIONS and isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return {key: value for key, value in flat.items() if value is not None}  # null is there the word for absent


def _over(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What the dataset says, and the defaults where it says nothing."""
    made = dict(defaults) | dict(own)
    for name in SECTIONS:
        if name in defaults and name in own:
            made[name] = {**defaults[name], **own[name]}
    return made


def _without_idle_prompt(dataset: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """The guide's program reads `instance_prompt` with `instanceprompt` alone; beside captions it is idle."""
    if dataset.get("caption_strategy", "textfile") == "instanceprompt" or "instance_prompt" not in dataset:
        return dataset
    draft.notice(
        f"dataset {dataset.get('id')}, instance_prompt", "has no effect without caption_strategy: instanceprompt"
    )
    return {name: value for name, value in dataset.items() if name != "instance_prompt"}


def _hold_out_of(eval_id: str, made: list[dict[str, Any]], draft: Draft) -> None:
    ids = [dataset.get("id") for dataset in made]
    if eval_id not in ids:
        draft.faults.append(f"option 'eval_dataset_id' is {eval_id!r}; there are {', '.join(map(str, ids))}")
    for dataset in made:
        if dataset.get("id") != eval_id:
            dataset["eval_fraction"] = 0.0
