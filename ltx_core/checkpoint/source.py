"""Where a model comes from: a file, a folder, or the hub; and what is opened there. No torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltx_core.checkpoint.combined import open_checkpoint, open_pack
from ltx_core.checkpoint.flavours import default_flavour, flavour
from ltx_core.checkpoint.folder import FOLDERS, is_folder, open_folder
from ltx_core.checkpoint.header import read_header
from ltx_core.checkpoint.hub import Repository, fetch_files, fetch_folder, has_file, is_absent
from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.errors import CheckpointError

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
INDEX = "model_index.json"


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


def locate(source: ModelSource) -> tuple[Path, ...]:
    """The file or folder on this machine, or the files of a pack; downloaded if the location is on the hub.

    Raises:
        CheckpointError, ConfigError, TransientError, StorageError: as for `open_model`.
    """
    path = Path(source.location).expanduser()
    if path.exists():
        return (path,)
    repository = _repository(source, "a combined .safetensors file, a folder")
    chosen = flavour(source.flavour or default_flavour(repository.name))
    try:
        return fetch_files(repository, chosen.files)
    except CheckpointError as error:
        if not is_absent(error) or not has_file(repository, INDEX):
            raise
    folders = [f"{folder}/*" for folder in dict.fromkeys(FOLDERS.values())]
    return (fetch_folder(repository, [INDEX, *folders]),)


def locate_text_encoder(source: ModelSource) -> Path:
    """The text encoder on this machine: a folder or packed file; fetched if the location is on the hub.

    A repository may be a text encoder's own, or a model's with the folders `text_encoder` and `tokenizer`.

    Raises:
        CheckpointError, TransientError, StorageError: as for `open_model`.
    """
    path = Path(source.location).expanduser()
    if path.exists():
        return path
    repository = _repository(source, "the folder of Gemma, LTX-2.5's text encoder file")
    if has_file(repository, "config.json"):
        return fetch_folder(repository, ["*.json", "*.safetensors", "tokenizer.model"], ["*/*"])
    return fetch_folder(repository, ["text_encoder/*", "tokenizer/*"]) / "text_encoder"


def _repository(source: ModelSource, wanted: str) -> Repository:
    if not REPOSITORY.fullmatch(source.location):
        raise CheckpointError(
            f"{source.location} does not exist; {wanted} or a repository on the hub (`Lightricks/LTX-2`) is wanted"
        )
    return Repository(source.location, source.revision, source.cache)


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
