"""Where a model comes from: a file, a folder, or the hub; and what is opened there. No torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ltx_core.checkpoint.combined import open_checkpoint, open_pack
from ltx_core.checkpoint.flavours import default_flavour, flavour
from ltx_core.checkpoint.folder import FOLDERS, is_folder, open_folder
from ltx_core.checkpoint.header import read_header
from ltx_core.checkpoint.hub import Bar, Repository, fetch_files, fetch_folder, has_file, is_absent
from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.checkpoint.location import is_repository
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.pending import PendingFile, pending_files, pending_folder
from ltx_core.errors import CheckpointError

INDEX = "model_index.json"
Found = TypeVar("Found")


@dataclass(frozen=True)
class ModelSource:
    """What a user says of the weights."""

    location: str
    """A combined file, a folder (a pack, or diffusers' layout), or a repository id on the hub."""
    flavour: str | None = None
    """Which of a repository's models; of local files, what they must turn out to be. See flavours.py."""
    revision: str | None = None
    """On the hub: branch, tag or commit."""
    cache: Path | None = None
    """On the hub: where downloads are kept; default the cache of all Hugging Face tools."""
    here_only: bool = False
    """On the hub: take what was downloaded before and ask nobody."""


def open_model(source: ModelSource, *, components: Sequence[str] = COMPONENTS) -> Checkpoint:
    """Find the model, download what is missing, and open it by what is in it. Weights are not read.

    Raises:
        CheckpointError: there is nothing, it cannot be fetched, or it is no whole LTX-2 model, or of another
            generation than the flavour.
        ConfigError: the flavour is unknown.
        TransientError: the network or the hub failed.
        StorageError: the disk is full.
    """
    checkpoint = _open(source, locate(source), components)
    wanted = None if source.flavour is None else flavour(source.flavour).generation
    if wanted not in (None, checkpoint.generation):
        raise CheckpointError(
            f"{checkpoint.path} is an LTX-{checkpoint.generation} model and the flavour {source.flavour} is LTX-"
            f"{wanted}; set the flavour that it is, or none"
        )
    return checkpoint


def locate(source: ModelSource, bar: Bar | None = None) -> tuple[Path, ...]:
    """The file or folder on this machine, or the files of a pack; downloaded if the location is on the hub.

    Raises:
        CheckpointError, ConfigError, TransientError, StorageError: as for `open_model`.
    """
    if (path := local_path(source)).exists():
        return (path,)
    return _chosen(
        source,
        lambda repository, names: fetch_files(repository, names, bar),
        lambda repository, allow: (fetch_folder(repository, allow, bar=bar),),
    )


def pending(source: ModelSource) -> tuple[PendingFile, ...]:
    """What `locate` would download.

    Raises:
        CheckpointError, ConfigError, TransientError: as for `open_model`.
    """
    return () if local_path(source).exists() else _chosen(source, pending_files, pending_folder)


def local_path(source: ModelSource) -> Path:
    """The location as a path on this machine, whether it is there or not."""
    return Path(source.location).expanduser()


def _chosen(
    source: ModelSource,
    files: Callable[[Repository, Sequence[str]], Found],
    folder: Callable[[Repository, Sequence[str]], Found],
) -> Found:
    """Do what is asked with a repository's files: the flavour's own or, if it has none such, diffusers' folders."""
    repository = repository_of(source, "a combined .safetensors file, a folder")
    chosen = flavour(source.flavour or default_flavour(repository.name))
    try:
        return files(repository, chosen.files)
    except CheckpointError as error:
        if not is_absent(error) or not has_file(repository, INDEX):
            raise
    return folder(repository, [INDEX, *(f"{name}/*" for name in dict.fromkeys(FOLDERS.values()))])


def repository_of(source: ModelSource, wanted: str) -> Repository:
    """The location as a repository on the hub.

    Raises:
        CheckpointError: it is a path, and nothing is there; `wanted` says what else would do.
    """
    if not is_repository(source.location):
        raise CheckpointError(
            f"{source.location} does not exist; {wanted} or a repository on the hub (`Lightricks/LTX-2`) is wanted"
        )
    return Repository(source.location, source.revision, source.cache, source.here_only)


def _open(source: ModelSource, paths: tuple[Path, ...], components: Sequence[str]) -> Checkpoint:
    first = paths[0]
    if first.is_dir() and is_folder(first):
        return open_folder(first, components=components)
    if first.is_file() and len(paths) == 1:
        return open_checkpoint(first, components=components)
    folder = first if first.is_dir() else first.parent.parent
    files = sorted(first.rglob("*.safetensors")) if first.is_dir() else list(paths)
    if not files:
        raise CheckpointError(f"{folder} has no .safetensors file and no {INDEX}; give a folder with a model in it")
    preferred = () if source.flavour is None else [Path(name).name for name in flavour(source.flavour).files]
    headers = [read_header(file) for file in files]
    return open_pack(folder, headers, components=components, preferred=preferred)
