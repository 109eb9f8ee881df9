"""SimpleTuner's `config.json`, its datasets and its LyCORIS file, as a configuration of ours."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.documents import exists, read_document
from flows.simpletuner.draft import Draft, Refused, flag
from flows.simpletuner.handlers import AUDIO_OF
from flows.simpletuner.table import table
from ltx_core.checkpoint.flavours import ALIASES, FLAVOURS
from ltx_core.errors import ConfigError

DEFAULTS = {"lora_rank": 16, "caption_dropout_probability": 0.1}
"""SimpleTuner's values where a file says nothing, and this program would take something else."""
BACKENDS = "data_backend_config"
LYCORIS = "lycoris_config"
LYCORIS_FILE = "config/lycoris_config.json"
LYCORIS_PRESET = {"target_module": ["Attention"]}
"""Where a file says neither: what SimpleTuner takes for this model."""
SECTIONS = ("video", "audio")
"""Of a dataset."""
OF_VIDEOS = {"probability", "repeats"}
"""Options that have no meaning for audio files that belong to videos."""


@dataclass(frozen=True)
class Translation:
    """A file of SimpleTuner's in our terms."""

    values: dict[str, Any]
    """As one would write them in YAML."""
    root: Path
    """The folder that its paths are relative to."""
    warnings: tuple[str, ...]
    """Each says of an option that it is done differently, or not at all."""


def is_guide(values: Mapping[str, Any], ours: Collection[str]) -> bool:
    """True of a file that is written with SimpleTuner's options; `ours`: names of our sections."""
    names = {_bare(key) for key in values}
    return not names & set(ours) and bool(names & table("options").options.keys())


def translate(values: Mapping[str, Any], path: Path) -> Translation:
    """The file in our terms.

    Raises:
        ConfigError: an option is unknown, or its value has no meaning here; names all of them.
    """
    draft = Draft(_bare_options(values, path))
    for key, value in DEFAULTS.items():
        if key not in draft.flat and not (key == "lora_rank" and _is_lycoris(draft)):
            draft.flat = {**draft.flat, key: value}
            draft.warn(key, f"left out, so {value} as in SimpleTuner")
    table("options").take_all(draft)
    root = _project(draft, path)
    defaults = draft.values.pop("defaults", {})
    eval_id = defaults.pop("eval_dataset_id", None)
    if root is not None:
        _read_lycoris(draft, root)
        entries = read_backends(root / str(draft.flat[BACKENDS]))
        draft.values["datasets"] = datasets(entries, draft, defaults, eval_id)
    _name_the_model(draft)
    if draft.faults or root is None:
        several = len(draft.faults) > 1
        raise ConfigError(
            f"{path}: " + ("\n  ".join(["several options are wrong:", *draft.faults]) if several else draft.faults[0])
        )
    return Translation(draft.values, root, tuple(draft.warnings))


def _bare(key: object) -> str:
    return str(key).lstrip("-")


def _bare_options(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Options by name without leading dashes; null is SimpleTuner's word for one that is not set.

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


def _is_lycoris(draft: Draft) -> bool:
    return bool(draft.flat.get("lora_type") == "lycoris")


def _read_lycoris(draft: Draft, root: Path) -> None:
    """Take LyCORIS' own configuration, if the file asks for it, from where it says."""
    if not _is_lycoris(draft):
        return
    path = root / str(draft.flat.get(LYCORIS) or LYCORIS_FILE)
    if not exists(path):
        draft.faults.append(f"option {LYCORIS!r} names {path}, which does not exist; lora_type: lycoris wants it")
        return
    try:
        found = read_document(path, f"option {LYCORIS!r}:")
    except ConfigError as error:
        draft.faults.append(str(error))
        return
    if not isinstance(found, dict):
        draft.faults.append(f"option {LYCORIS!r} names {path}, which is no JSON object; the library's configuration is")
        return
    draft.set("train_lora.lycoris", {"apply_preset": LYCORIS_PRESET, **found})


def read_backends(path: Path) -> list[dict[str, Any]]:
    """The entries of the file of datasets, `multidatabackend.json`.

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
    found = [(_kind(entry), _videos(entry, draft)) for entry in enabled if _kind(entry) != "audio"]
    linked = {dataset.get(AUDIO_OF) for _, dataset in found}
    of_audio = {str(entry.get("id")): entry for entry in enabled if _kind(entry) == "audio"}
    audio = {name: _audio_files(entry, draft) for name, entry in of_audio.items() if name in linked}
    alone = [_audio_alone(entry, draft) for name, entry in of_audio.items() if name not in linked]
    made = [_prompt_in_its_place(_over(dataset, defaults), draft) for kind, dataset in found if kind != "text_embeds"]
    _link(made, audio, draft)
    made += alone
    if eval_id is not None:
        _hold_out_of(eval_id, made, draft)
    return made


def _kind(entry: Mapping[str, Any]) -> Any:
    return entry.get("dataset_type", "video")


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("id", "without an id"))


def _disabled(entry: Mapping[str, Any], draft: Draft) -> bool:
    try:
        return flag(entry.get("disabled"))
    except Refused as refused:
        draft.faults.append(f"dataset {_name(entry)!r}: option 'disabled' {refused}")
        return True


def _videos(entry: Mapping[str, Any], whole: Draft) -> dict[str, Any]:
    """A dataset of videos in our terms. Of `text_embeds` nothing is wanted but what is to be said of its options."""
    flat = _flat(entry)
    if _kind(entry) == "text_embeds":
        del flat["dataset_type"]
    own = _taken(_name(entry), flat, whole)
    if _kind(entry) == "eval":
        own.set("eval_fraction", 1.0)
    return own.values


def _audio_alone(entry: Mapping[str, Any], whole: Draft) -> dict[str, Any]:
    """A dataset of audio that no dataset of videos names: its clips are audio without video."""
    own = _taken(_name(entry), {key: value for key, value in _flat(entry).items() if key != "dataset_type"}, whole)
    own.set("dataset_type", "audio")
    return own.values


def _audio_files(entry: Mapping[str, Any], whole: Draft) -> dict[str, Any]:
    """Of a dataset of audio files: `audio_dir`, and `channels` if it says."""
    flat = _flat(entry)
    own = _taken(_name(entry), {key: value for key, value in flat.items() if key not in OF_VIDEOS}, whole)
    for key in sorted(OF_VIDEOS & flat.keys()):
        whole.warn(f"dataset {_name(entry)}, {key}", "has no effect: audio is used with its video")
    channels = own.get("audio.channels")
    return {"audio_dir": own.get("instance_data_dir")} | ({} if channels is None else {"channels": channels})


def _taken(name: str, flat: Mapping[str, Any], whole: Draft) -> Draft:
    """The options of one dataset; what is to be said of them goes to the whole."""
    own = Draft(flat)
    table("datasets").take_all(own, f"dataset {name!r}: ")
    whole.faults += own.faults
    for line in own.warnings:
        key, _, text = line.partition(": ")
        whole.warn(f"dataset {name}, {key}", text)
    return own


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Options by dotted name; null is there the word for absent."""
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        if key in SECTIONS and isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return {key: value for key, value in flat.items() if value is not None}


def _link(made: list[dict[str, Any]], audio: Mapping[str, Mapping[str, Any]], draft: Draft) -> None:
    """Give datasets of videos the folder of the audio files that they name."""
    named = [dataset.pop(AUDIO_OF, None) for dataset in made]
    for dataset, name in zip(made, named, strict=True):
        if name in audio:
            dataset["audio"] = {**dataset.get("audio", {}), "auto_split": True, **audio[name]}
        elif name is not None:
            known = ", ".join(audio) or "none"
            draft.faults.append(
                f"dataset {dataset.get('id')!r}: option 's2v_datasets' names {name!r}; datasets of audio are: {known}"
            )


def _over(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the dataset, and the defaults where it says nothing."""
    made = dict(defaults) | dict(own)
    for name in defaults.keys() & own.keys():
        if isinstance(defaults[name], Mapping):
            made[name] = {**defaults[name], **own[name]}
    return made


def _prompt_in_its_place(dataset: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """SimpleTuner reads `instance_prompt` with `instanceprompt`, and puts it in front of captions if it is asked to;
    beside captions alone it is idle."""
    where, captions = f"dataset {dataset.get('id')}", dict(dataset.get("captions", {}))
    prompt, in_front = dataset.get("instance_prompt"), captions.pop("trigger_place", None) == "front"
    if dataset.get("caption_strategy", "textfile") == "instanceprompt":
        if in_front:
            draft.warn(f"{where}, prepend_instance_prompt", "has no effect with caption_strategy: instanceprompt")
        return dataset | {"captions": captions}
    made = {name: value for name, value in dataset.items() if name != "instance_prompt"}
    if not in_front:
        if prompt is not None:
            draft.warn(f"{where}, instance_prompt", "has no effect without caption_strategy: instanceprompt")
        return made | {"captions": captions}
    if prompt is None:
        draft.faults.append(
            f"dataset {dataset.get('id')!r}: option 'prepend_instance_prompt' is on, and there is no instance_prompt "
            f"to put in front of captions; set it"
        )
    return made | {"captions": captions | {"trigger": prompt, "trigger_place": "front"}}


def _hold_out_of(eval_id: str, made: list[dict[str, Any]], draft: Draft) -> None:
    ids = [dataset.get("id") for dataset in made]
    if eval_id not in ids:
        draft.faults.append(f"option 'eval_dataset_id' is {eval_id!r}; there are {', '.join(map(str, ids))}")
    for dataset in made:
        if dataset.get("id") != eval_id:
            dataset["eval_fraction"] = 0.0
