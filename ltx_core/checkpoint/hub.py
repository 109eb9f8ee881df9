"""Models and text encoders on the hub: which files make one, fetched or only counted. No torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ltx_core.checkpoint.flavours import Flavour, default_flavour, published
from ltx_core.checkpoint.layouts import FOLDERS, INDEX, TEXT_ENCODER
from ltx_core.errors import CheckpointError
from ltx_core.hub.client import (
    fetch_files,
    fetch_folder,
    has_file,
    is_absent,
    pending_files,
    pending_folder,
    reporting_bar,
)
from ltx_core.hub.repository import PendingFile, Repository
from ltx_core.progress import Progress

OWN = (["*.json", "*.safetensors", "tokenizer.model"], ["*/*"])
BESIDE = ([f"{TEXT_ENCODER}/*", "tokenizer/*"], ["*/*/*"])
"""Files of a text encoder in a repository of its own, and in a model's: what to take, what to leave."""
Found = TypeVar("Found")


def fetch_model(
    repository: Repository, flavour: str | None = None, progress: Progress | None = None
) -> tuple[Path, ...]:
    """`source.locate` of what is not on this machine."""
    bar = None if progress is None else reporting_bar(progress)
    return _model(
        repository,
        flavour,
        lambda names: fetch_files(repository, names, bar),
        lambda allow: (fetch_folder(repository, allow, bar=bar),),
    )


def pending_model(repository: Repository, flavour: str | None = None) -> tuple[PendingFile, ...]:
    """Return what `fetch_model` would download.

    Raises:
        CheckpointError, ConfigError, TransientError: as for `source.open_model`.
    """
    return _model(
        repository,
        flavour,
        lambda names: pending_files(repository, names),
        lambda allow: pending_folder(repository, allow),
    )


def fetch_text_encoder(repository: Repository, progress: Progress | None = None) -> Path:
    """`source.locate_text_encoder` of what is not on this machine."""
    bar = None if progress is None else reporting_bar(progress)
    if has_file(repository, "config.json"):
        return fetch_folder(repository, *OWN, bar)
    return fetch_folder(repository, *BESIDE, bar) / TEXT_ENCODER


def pending_text_encoder(repository: Repository) -> tuple[PendingFile, ...]:
    """Return what `fetch_text_encoder` would download.

    Raises:
        CheckpointError, TransientError: as for `source.open_model`.
    """
    return pending_folder(repository, *(OWN if has_file(repository, "config.json") else BESIDE))


def has_text_encoder(repository: Repository, flavour: str | None = None) -> bool:
    """Return whether the repository has a text encoder beside the model, and the model's own files bring none.

    Raises:
        CheckpointError, ConfigError, TransientError: as for `source.open_model`.
    """
    packed = any(name.startswith(f"{TEXT_ENCODER}s/") for name in _flavour(repository, flavour).files)
    return not packed and has_file(repository, f"{TEXT_ENCODER}/config.json")


def _model(
    repository: Repository,
    flavour: str | None,
    files: Callable[[Sequence[str]], Found],
    folder: Callable[[Sequence[str]], Found],
) -> Found:
    """Do what is asked with a repository's files: the flavour's own or, if it has none such, diffusers' folders."""
    try:
        return files(_flavour(repository, flavour).files)
    except CheckpointError as error:
        if not is_absent(error) or not has_file(repository, INDEX):
            raise
    return folder([INDEX, *(f"{name}/*" for name in dict.fromkeys(FOLDERS.values()))])


def _flavour(repository: Repository, flavour: str | None) -> Flavour:
    return published(flavour or default_flavour(repository.name))
