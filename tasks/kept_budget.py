"""The share of activations that a run keeps, chosen once and kept in its folder.

What is computed again inside a compiled block is rounded as other kernels round it. So a run that is resumed, perhaps
beside a program that takes memory, goes on with the share that it began with; blocks that are computed again whole or
streamed give the same bits and are planned anew.
"""

from pathlib import Path

from ltx_core.files.json_file import read_json, write_json
from ltx_core.training.config import TrainSettings

FILE = "activation_budget.json"


def with_kept_budget(settings: TrainSettings, folder: Path) -> TrainSettings:
    """The settings with the share that was chosen before, if it is left open and there is one.

    Raises:
        DamagedError: there is one and it cannot be read.
    """
    file = folder / FILE
    if settings.activation_budget != "auto" or not file.exists():
        return settings
    return settings.model_copy(update={"activation_budget": float(read_json(file)["activation_budget"])})


def keep_budget(settings: TrainSettings, folder: Path) -> None:
    """Remember what was chosen."""
    write_json(folder / FILE, {"activation_budget": settings.activation_budget})


def forget_budget(folder: Path) -> None:
    """The run begins anew."""
    (folder / FILE).unlink(missing_ok=True)
