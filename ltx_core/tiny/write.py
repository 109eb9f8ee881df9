"""Write the whole miniature to a folder."""

from dataclasses import dataclass
from pathlib import Path

from ltx_core.progress import SILENT, Progress, stop_if_asked
from ltx_core.tiny.footage import write_audio, write_footage, write_image
from ltx_core.tiny.gemma import write_gemma
from ltx_core.tiny.header import Generation
from ltx_core.tiny.model import write_checkpoint, write_pack

CHECKPOINT_NAME = "ltx-2-miniature.safetensors"


@dataclass(frozen=True)
class Miniature:
    """Where everything lies."""

    checkpoint: Path
    """The combined checkpoint or, of 2.5, the folder of the pack."""
    text_encoder: Path
    """Folder of the toy Gemma 3 or, of 2.5, the pack's file."""
    footage: Path
    """Folder of media files with captions beside them."""
    picture: Path | None = None
    """Image that image to video starts from."""
    sound: Path | None = None
    """Audio that audio to video follows."""


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
    checkpoint, text_encoder = write_model(folder / "model", generation, seed)
    stop_if_asked(progress, "writing the miniature")
    footage = folder / "footage"
    write_footage(footage, progress=progress)
    given = folder / "given"
    picture, sound = write_image(given / "face.png"), write_audio(given / "birds.wav")
    return Miniature(checkpoint, text_encoder, footage, picture, sound)


def write_model(folder: Path, generation: Generation, seed: int = 0) -> tuple[Path, Path]:
    """Write model and text encoder in the layout that the generation is published in; the paths of both.

    Raises:
        StorageError: the disk is full or read-only.
    """
    if generation == "2.5":
        return folder, write_pack(folder, seed)
    return write_checkpoint(folder / CHECKPOINT_NAME, generation, seed), write_gemma(folder / "gemma", seed)
