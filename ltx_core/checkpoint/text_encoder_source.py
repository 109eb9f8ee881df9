"""Where a text encoder comes from: a folder, a packed file, beside the model, or the hub. No torch."""

from pathlib import Path

from ltx_core.checkpoint.hub import Bar, fetch_folder, has_file
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.pending import PendingFile, pending_folder
from ltx_core.checkpoint.source import ModelSource, local_path, repository_of

TEXT_ENCODER = "text_encoder"
"""The folder of a text encoder beside a model, with `tokenizer` next to it: diffusers' layout."""
OWN_TEXT_ENCODER = (["*.json", "*.safetensors", "tokenizer.model"], ["*/*"])
TEXT_ENCODER_BESIDE = ([f"{TEXT_ENCODER}/*", "tokenizer/*"], ["*/*/*"])
"""Files of a text encoder's own repository, and of a model's: what to take, what to leave."""
WANTED = "the folder of Gemma, LTX-2.5's text encoder file"


def locate_text_encoder(source: ModelSource, bar: Bar | None = None) -> Path:
    """The text encoder on this machine: a folder or packed file; fetched if the location is on the hub.

    A repository may be a text encoder's own, or a model's with the folders `text_encoder` and `tokenizer`.

    Raises:
        CheckpointError, TransientError, StorageError: as for `open_model`.
    """
    if (path := local_path(source)).exists():
        return path
    repository = repository_of(source, WANTED)
    if has_file(repository, "config.json"):
        return fetch_folder(repository, *OWN_TEXT_ENCODER, bar)
    return fetch_folder(repository, *TEXT_ENCODER_BESIDE, bar) / TEXT_ENCODER


def pending_text_encoder(source: ModelSource) -> tuple[PendingFile, ...]:
    """What `locate_text_encoder` would download.

    Raises:
        CheckpointError, TransientError: as for `open_model`.
    """
    if local_path(source).exists():
        return ()
    repository = repository_of(source, WANTED)
    own = has_file(repository, "config.json")
    return pending_folder(repository, *(OWN_TEXT_ENCODER if own else TEXT_ENCODER_BESIDE))


def has_text_encoder(source: ModelSource) -> bool:
    """Whether the location is a repository with a text encoder beside its models.

    Raises:
        CheckpointError, TransientError: as for `open_model`.
    """
    if local_path(source).exists():
        return False
    return has_file(repository_of(source, WANTED), f"{TEXT_ENCODER}/config.json")


def text_encoder_beside(checkpoint: Checkpoint) -> Path | None:
    """The text encoder in the model's folder, or beside the model's file."""
    if checkpoint.text_encoder is not None:
        return checkpoint.text_encoder
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    beside = folder / TEXT_ENCODER
    return beside if (beside / "config.json").is_file() else None
