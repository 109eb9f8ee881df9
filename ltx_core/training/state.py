"""Checkpoints of a run: everything the rest of it depends on, in a folder that is whole or absent.

`step-000100/` holds `adapter.safetensors` (float32), `optimizer.safetensors`, `lora.safetensors` (what other programs
load) and `state.json`. No generator state: randomness is a function of seed and position.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from ltx_core.adapters.lycoris_layout import NORM_OF_FROZEN
from ltx_core.errors import CheckpointError, DamagedError
from ltx_core.io.atomic import atomic_folder, find_whole
from ltx_core.io.digest import file_digest, text_digest
from ltx_core.io.json_file import json_bytes, read_json
from ltx_core.io.tensors import finite_tensors, write_tensors
from ltx_core.progress import Progress
from ltx_core.training.config import TrainSettings
from ltx_core.training.metrics import History
from ltx_core.training.order import Position
from ltx_core.training.samples import ClipInfo

USUAL = {field.name: field.default for field in fields(ClipInfo) if field.default is not MISSING}
"""The values that most clips have, by field."""


def config_digest(settings: TrainSettings, clips: Sequence[ClipInfo], provenance: Mapping[str, str]) -> str:
    """Names everything that decides the LoRA: settings, data, and what `provenance` says of the base."""
    data = sorted((_named(clip, settings) for clip in clips), key=lambda clip: str(clip["clip_id"]))
    return text_digest(
        settings.digest(), json.dumps(data, sort_keys=True), json.dumps(dict(provenance), sort_keys=True)
    )


def _named(clip: ClipInfo, settings: TrainSettings) -> dict[str, Any]:
    """All that decides what a clip teaches. That it has audio, and all of it, is not said, so that such runs keep their
    names; where only video is trained it says nothing."""
    known = asdict(clip) | (USUAL if settings.modalities == "video" else {})
    return {name: value for name, value in known.items() if name not in USUAL or value != USUAL[name]}


def lora_metadata(settings: TrainSettings, step: int, digest: str, provenance: Mapping[str, str]) -> dict[str, str]:
    """Header strings of a LoRA file; no time, no path, no host."""
    return {
        **provenance,
        "format": "pt",
        **_adapter(settings),
        "ltx2.step": str(step),
        "ltx2.config_digest": digest,
        "ltx2.settings": json.dumps(settings.kept(), sort_keys=True),
    }


def _adapter(settings: TrainSettings) -> dict[str, str]:
    """Its kind."""
    if settings.lycoris is not None:
        kind = {"ltx2.lycoris": json.dumps(settings.lycoris.model_dump(mode="json", by_alias=True), sort_keys=True)}
        return kind | (NORM_OF_FROZEN if settings.lycoris.dora_wd else {})
    return {"ltx2.rank": str(settings.rank), "ltx2.alpha": f"{settings.lora_alpha:g}, folded into lora_B"}


VERSION = 1
ADAPTER_FILE, OPTIMIZER_FILE, LORA_FILE = "adapter.safetensors", "optimizer.safetensors", "lora.safetensors"
STATE_FILE = "state.json"
FILES = (ADAPTER_FILE, OPTIMIZER_FILE, LORA_FILE)
NAME = re.compile(r"step-\d{6,}")


@dataclass(frozen=True)
class TrainState:
    """All that the rest of a run depends on."""

    step: int
    """Optimizer steps taken."""
    position: Position
    """The next batch."""
    config_digest: str
    """Names settings, data and base."""
    history: History
    adapter: Mapping[str, torch.Tensor]
    moments: Mapping[str, torch.Tensor]
    methods: Mapping[str, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    """Tensors of training methods, by the files that keep them."""


def checkpoint_folder(root: Path, step: int) -> Path:
    """Where the checkpoint after `step` optimizer steps lies."""
    return root / f"step-{step:06d}"


def checkpoints(root: Path) -> list[Path]:
    """Checkpoint folders, newest first; other files and folders beside them are left alone."""
    found = (path for path in find_whole(root, "step-*") if NAME.fullmatch(path.name) and path.is_dir())
    return sorted(found, key=step_of, reverse=True)


def step_of(folder: Path) -> int:
    """Optimizer steps taken before the checkpoint in `folder`."""
    return int(folder.name.removeprefix("step-"))


def save_state(root: Path, state: TrainState, lora: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a checkpoint, replacing one of the same step.

    Raises:
        StorageError: the disk is full or read-only.
    """
    folder = checkpoint_folder(root, state.step)
    remove_checkpoint(folder)
    with atomic_folder(folder) as partial:
        write_tensors(partial / ADAPTER_FILE, state.adapter, {})
        write_tensors(partial / OPTIMIZER_FILE, state.moments, {})
        write_tensors(partial / LORA_FILE, lora, metadata)
        for name, tensors in state.methods.items():
            write_tensors(partial / name, tensors, {})
        files = (*FILES, *state.methods)
        summary = {
            "version": VERSION,
            "step": state.step,
            "position": list(state.position),
            "config_digest": state.config_digest,
            "files": {name: file_digest(partial / name) for name in files},
            "history": state.history.to_json(),
        }
        (partial / STATE_FILE).write_bytes(json_bytes(partial / STATE_FILE, summary))
    return folder


def newest_state(root: Path, config_digest: str, progress: Progress) -> TrainState | None:
    """The newest whole checkpoint of `root`, or None. Damaged ones are named and passed over.

    Where a checkpoint's LoRA is damaged, which is a result of the run, training goes on from before it, so that the
    same LoRA is made again.

    Raises:
        CheckpointError: the newest whole one belongs to other settings, data or another base, or a weight in it is not
            finite.
    """
    for folder, summary in reversed(_before_a_lost_lora(root, progress)):
        if problem := _problem(folder, summary["files"], sorted(summary["files"])):
            progress.note(f"checkpoint {folder} is damaged ({problem}); an older one is used if there is one")
            continue
        if (summary["version"], summary["config_digest"]) != (VERSION, config_digest):
            raise CheckpointError(
                f"{folder} was made by configuration {summary['config_digest']} (state version {summary['version']}), "
                f"this run is {config_digest} (version {VERSION}). Give the old settings, data and base model to go "
                f"on, or another output folder to start anew."
            )
        return TrainState(
            step=summary["step"],
            position=Position(*summary["position"]),
            config_digest=config_digest,
            history=History.from_json(summary["history"]),
            adapter=finite_tensors(folder / ADAPTER_FILE),
            moments=finite_tensors(folder / OPTIMIZER_FILE),
            methods={name: finite_tensors(folder / name) for name in summary["files"].keys() - set(FILES)},
        )
    return None


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint so that no reader ever sees a part of it under its name."""
    if folder.exists():
        doomed = folder.rename(folder.with_name(f".partial-removed-{folder.name}"))
        shutil.rmtree(doomed)


def restore_adapter(parameters: Mapping[str, torch.nn.Parameter], stored: Mapping[str, torch.Tensor]) -> None:
    """Put stored adapter weights back.

    Raises:
        CheckpointError: they belong to other layers or another rank.
    """
    shapes = {name: tuple(p.shape) for name, p in parameters.items()}
    found = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    if shapes != found:
        odd = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
        raise CheckpointError(f"the checkpoint's adapter differs from the model's in {odd[:3]}; delete that checkpoint")
    for name, parameter in parameters.items():
        parameter.data.copy_(stored[name])


def _before_a_lost_lora(root: Path, progress: Progress) -> list[tuple[Path, dict[str, Any]]]:
    """Checkpoints and what their `state.json` says, oldest first, up to one whose state or LoRA is damaged."""
    found = []
    for folder in reversed(checkpoints(root)):
        try:
            summary = read_json(folder / STATE_FILE)
        except DamagedError as error:
            problem = error.found
        else:
            problem = _problem(folder, summary["files"], [LORA_FILE])
            if summary["step"] != step_of(folder):
                problem = f"its state is that of step {summary['step']}"
        if problem:
            progress.note(f"checkpoint {folder} is damaged ({problem}); training goes on from before it")
            break
        found.append((folder, summary))
    return found


def _problem(folder: Path, digests: Mapping[str, str], names: Sequence[str]) -> str:
    """Return the fault of the files of these names, or an empty string."""
    for name in names:
        if not (folder / name).is_file():
            return f"{name} is gone"
        if file_digest(folder / name) != digests[name]:
            return f"{name} has other bytes than were written"
    return ""


def prune(root: Path, step: int, history: History, settings: TrainSettings) -> None:
    """Delete checkpoints of a run at `step` that are neither among the newest nor among the best.

    Those of later steps go too: a run that stands at `step` passed them over as damaged. A folder is renamed before it
    is deleted, so whatever kills this leaves whole checkpoints and leftovers that the next start removes.
    """
    for folder in stale(root, step, history, settings):
        remove_checkpoint(folder)


def stale(root: Path, step: int, history: History, settings: TrainSettings) -> list[Path]:
    """Folders that are not to be kept, newest first. Equal eval losses: the earlier step is the better one."""
    found = checkpoints(root)
    past = [folder for folder in found if step_of(folder) <= step]
    measured = {folder: history.at(step_of(folder), "eval/loss") for folder in past}
    best = sorted((loss, step_of(folder), folder) for folder, loss in measured.items() if loss is not None)
    kept = {*past[: settings.keep_checkpoints], *(folder for *_, folder in best[: settings.keep_best])}
    return [folder for folder in found if folder not in kept]
