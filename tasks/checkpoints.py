"""Which of a training run's checkpoints the later stages take."""

from datasets_spec import Checkpoint, Manifest


def final_checkpoint(manifest: Manifest[Checkpoint]) -> Checkpoint:
    """The one after the last step, which every finished run has."""
    return next(row for row in manifest if row.name == "final")


def best_checkpoint(manifest: Manifest[Checkpoint]) -> Checkpoint:
    """The kept one of lowest eval loss, the earliest of equals; the final one where none was measured."""
    final = final_checkpoint(manifest)
    measured = [row for row in manifest if row.eval_loss is not None]
    return min(measured, key=lambda row: (row.eval_loss, row.step, row.name != "final"), default=final)
