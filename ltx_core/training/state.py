"""Checkpoints of a run: everything the rest of it depends on, in a folder that is whole or absent.

`step-000100/` holds `adapter.safetensors` (float32), `optimizer.safetensors`, `lora.safetensors` (what other programs
load) and `state.json`. No generator state: randomness is a function of seed and position.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ltx_core.errors import CheckpointError
from ltx_core.files.atomic import atomic_folder, find_whole
from ltx_core.files.digest import file_digest
from ltx_core.lora.tensor_file import read_tensors, write_tensors
from ltx_core.progress import Progress
from ltx_core.training.metrics import History
from ltx_core.training.order import Position

VERSION = 1
ADAPTER_FILE, OPTIMIZER_FILE, LORA_FILE = "adapter.safetensors", "optimizer.safetensors", "lora.safetensors"
STATE_FILE = "state.json"
FILES = (ADAPTER_FILE, OPTIMIZER_FILE, LORA_FILE)
AVERAGE_FILE = "average.safetensors"
"""Beside them where the adapter is averaged."""


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
    average: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Of the adapter over steps; empty without."""


def checkpoint_folder(root: Path, step: int) -> Path:
    """Where the checkpoint after `step` optimizer steps lies."""
    return root / f"step-{step:06d}"


def checkpoints(root: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    return sorted(find_whole(root, "step-*"), key=step_of, reverse=True)


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
        if state.average:
            write_tensors(partial / AVERAGE_FILE, state.average, {})
        files = (*FILES, AVERAGE_FILE) if state.average else FILES
        summary = {
            "version": VERSION,
            "step": state.step,
            "position": list(state.position),
            "config_digest": state.config_digest,
            "files": {name: file_digest(partial / name) for name in files},
            "history": state.history.to_json(),
        }
        (partial / STATE_FILE).write_text(json.dumps(summary), encoding="utf-8")
    return folder


def newest_state(root: Path, config_digest: str, progress: Progress) -> TrainState | None:
    """The newest whole checkpoint of `root`, or None. Damaged ones are named and passed over.

    Raises:
        CheckpointError: the newest whole one belongs to other settings, data or another base.
    """
    for folder in checkpoints(root):
        summary = _whole(folder)
        if summary is None:
            progress.note(f"checkpoint {folder} is damaged and passed over; an older one is used if there is one")
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
            adapter=read_tensors(folder / ADAPTER_FILE)[0],
            moments=read_tensors(folder / OPTIMIZER_FILE)[0],
            average=read_tensors(folder / AVERAGE_FILE)[0] if AVERAGE_FILE in summary["files"] else {},
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


def _whole(folder: Path) -> dict[str, Any] | None:
    """What `state.json` says, if every file beside it is as it was written."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    files = summary["files"]
    intact = all((folder / name).is_file() and file_digest(folder / name) == files[name] for name in files)
    return summary if intact and files.keys() >= set(FILES) else None
