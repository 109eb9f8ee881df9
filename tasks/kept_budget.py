"""The share of activations that a run keeps, chosen once and kept in its folder.

What is computed again inside a compiled block is rounded as other kernels round it. So a run that is resumed, perhaps
beside a program that takes memory, goes on with the share that it began with; blocks that are computed again whole or
streamed give the same bits and are planned anew.
"""

import json
from pathlib import Path

from ltx_core.files.atomic import atomic_path
from ltx_core.training.config import TrainSettings

FILE = "activation_budget.json"


def with_kept_budget(settings: TrainSettings, folder: Path) -> TrainSettings:
    """The settings with the share that was chosen before, if it is left open and there is one."""
    file = folder / FILE
    if settings.activation_budget != "auto" or not file.exists():
        return settings
    return settings.model_copy(update={"activation_budget": float(json.loads(file.read_text(encoding="utf-8")))})


def keep_budget(settings: TrainSettings, folder: Path) -> None:
    """Remember what was chosen."""
    with atomic_path(folder / FILE) as partial:
        partial.write_text(json.dumps(settings.activation_budget), encoding="utf-8")


def forget_budget(folder: Path) -> None:
    """The run begins anew."""
    (folder / FILE).unlink(missing_ok=True)
