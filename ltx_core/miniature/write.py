"""Write the whole miniature to a folder."""

from dataclasses import dataclass
from pathlib import Path

from ltx_core.miniature.footage import write_footage
from ltx_core.miniature.gemma import write_gemma
from ltx_core.miniature.header import Generation
from ltx_core.miniature.model import write_checkpoint
from ltx_core.progress import SILENT, Progress, stop_if_asked

CHECKPOINT_NAME = "ltx-2-miniature.safetensors"


@dataclass(frozen=True)
class Miniature:
    """Where everything lies."""

    checkpoint: Path
    """The combined checkpoint."""
    text_encoder: Path
    """Folder of the toy Gemma 3."""
    footage: Path
    """Folder of media files with captions beside them."""


def write_miniature(
    folder: Path, *, generation: Generation = "2.0", seed: int = 0, progress: Progress = SILENT
) -> Miniature:
    """Write model, text encoder and footage below `folder`, replacing what has their names.

    Args:
        generation: whose topology the model has.
        seed: of the weights; the footage is always the same.

    Raises:
        StorageError: the disk is full or read-only.
        Stopped: asked to stop; the files written so far are whole.
    """
    model = folder / "model"
    checkpoint = write_checkpoint(model / CHECKPOINT_NAME, generation, seed)
    stop_if_asked(progress, "writing the miniature")
    text_encoder = write_gemma(model / "gemma", seed)
    footage = folder / "footage"
    write_footage(footage, progress=progress)
    return Miniature(checkpoint, text_encoder, footage)
