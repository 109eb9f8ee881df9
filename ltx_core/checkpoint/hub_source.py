"""Models and text encoders on the hub: which files make one, fetched or only counted. No torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ltx_core.checkpoint.flavours import Flavour, default_flavour, flavour
from ltx_core.checkpoint.folder import FOLDERS
from ltx_core.checkpoint.hub import Repository, fetch_files, fetch_folder, has_file, is_absent
from ltx_core.checkpoint.location import is_repository
from ltx_core.checkpoint.pending import PendingFile, pending_files, pending_folder, reporting_bar
from ltx_core.checkpoint.source import INDEX, TEXT_ENCODER, ModelSource
from ltx_core.errors import CheckpointError
from ltx_core.progress import Progress

OWN = (["*.json", "*.safetensors", "tokenizer.model"], ["*/*"])
BESIDE = ([f"{TEXT_ENCODER}/*", "tokenizer/*"], ["*/*/*"])
"""Files of a text encoder in a repository of its own, and in a model's: what to take, what to leave."""
MODEL = "a combined .safetensors file, a folder"
ENCODER = "the folder of Gemma, LTX-2.5's text encoder file"
Found = TypeVar("Found")


def fetch_model(source: ModelSource, progress: Progress | None = None) -> tuple[Path, ...]:
    """`source.locate` of what is not on this machine."""
    bar = None if progress is None else reporting_bar(progress)
    return _model(
        source,
        lambda repository, names: fetch_files(repository, names, bar),
        lambda repository, allow: (fetch_folder(repository, allow, bar=bar),),
    )


def pending_model(source: ModelSource) -> tuple[PendingFile, ...]:
    """What `fetch_model` would download.

    Raises:
        CheckpointError, ConfigError, TransientError: as for `open_model`.
    """
    return _model(source, pending_files, pending_folder)


def fetch_text_encoder(source: ModelSource, progress: Progress | None = None) -> Path:
    """`source.locate_text_encoder` of what is not on this machine."""
    bar, repository = None if progress is None else reporting_bar(progress), _repository(source, ENCODER)
    if has_file(repository, "config.json"):
        return fetch_folder(repository, *OWN, bar)
    return fetch_folder(repository, *BESIDE, bar) / TEXT_ENCODER


def pending_text_encoder(source: ModelSource) -> tuple[PendingFile, ...]:
    """What `fetch_text_encoder` would download.

    Raises:
        CheckpointError, TransientError: as for `open_model`.
    """
    repository = _repository(source, ENCODER)
    return pending_folder(repository, *(OWN if has_file(repository, "config.json") else BESIDE))


def has_text_encoder(source: ModelSource) -> bool:
    """Whether the repository has a text encoder beside the model, and the model's own files bring none.

    Raises:
        CheckpointError, ConfigError, TransientError: as for `open_model`.
    """
    repository = _repository(source, MODEL)
    packed = any(name.startswith(f"{TEXT_ENCODER}s/") for name in _flavour(source).files)
    return not packed and has_file(repository, f"{TEXT_ENCODER}/config.json")


def _model(
    source: ModelSource,
    files: Callable[[Repository, Sequence[str]], Found],
    folder: Callable[[Repository, Sequence[str]], Found],
) -> Found:
    """Do what is asked with a repository's files: the flavour's own or, if it has none such, diffusers' folders."""
    repository = _repository(source, MODEL)
    try:
        return files(repository, _flavour(source).files)
    except CheckpointError as error:
        if not is_absent(error) or not has_file(repository, INDEX):
            raise
    return folder(repository, [INDEX, *(f"{name}/*" for name in dict.fromkeys(FOLDERS.values()))])


def _flavour(source: ModelSource) -> Flavour:
    return flavour(source.flavour or default_flavour(source.location))


def _repository(source: ModelSource, wanted: str) -> Repository:
    if not is_repository(source.location):
        raise CheckpointError(
            f"{source.location} does not exist; {wanted} or a repository on the hub (`Lightricks/LTX-2`) is wanted"
        )
    return Repository(source.location, source.revision, source.cache, source.here_only)
