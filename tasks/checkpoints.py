"""Which of a training run's checkpoints the later stages take."""

from datasets_spec import Checkpoint, Manifest


def final_checkpoint(manifest: Manifest[Checkpoint]) -> Checkpoint:
    """The one after the last step, which every finished run has."""
    return next(row for row in manifest if row.name == "final")
