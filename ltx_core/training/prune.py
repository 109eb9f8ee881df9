"""Which checkpoints stay: the newest, and those of lowest eval loss."""

from pathlib import Path

from ltx_core.training.config import TrainSettings
from ltx_core.training.metrics import History
from ltx_core.training.state import checkpoints, remove_checkpoint, step_of


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
