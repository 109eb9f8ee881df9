"""Where a model comes from: a file, a folder, or the hub; and what is opened there. No torch.

The hub's client is imported only for what is not here: it costs every process a fifth of a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltx_core.checkpoint.combined import open_checkpoint, open_pack
from ltx_core.checkpoint.flavours import flavour
from ltx_core.checkpoint.folder import is_folder, open_folder
from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.quantised.group import scheme_of
from ltx_core.errors import CheckpointError
from ltx_core.files.atomic import find_whole
from ltx_core.files.safetensors import read_header
from ltx_core.progress import Progress

INDEX = "model_index.json"
TEXT_ENCODER = "text_encoder"
"""The folder of a text encoder beside a model, with `tokenizer` next to it: diffusers' layout."""


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
            generation or stored otherwise than the flavour.
        ConfigError: the flavour is unknown.
        TransientError: the network or the hub failed.
        StorageError: the disk is full.
    """
    checkpoint = _open(source, locate(source), components)
    if source.flavour is not None:
        _check_flavour(checkpoint, source.flavour)
    return checkpoint


def locate(source: ModelSource, progress: Progress | None = None) -> tuple[Path, ...]:
    """The file or folder on this machine, or the files of a pack; downloaded if the location is on the hub.

    `progress`: who is told of a download; default a bar of the hub's client.

    Raises:
        CheckpointError, ConfigError, TransientError, StorageError: as for `open_model`.
    """
    if (path := local_path(source)).exists():
        return (path,)
    from ltx_core.checkpoint.hub_source import fetch_model

    return fetch_model(source, progress)


def locate_text_encoder(source: ModelSource, progress: Progress | None = None) -> Path:
    """The text encoder on this machine: a folder or packed file; fetched if the location is on the hub.

    A repository may be a text encoder's own, or a model's with the folders `text_encoder` and `tokenizer`.

    Raises:
        CheckpointError, TransientError, StorageError: as for `open_model`.
    """
    if (path := local_path(source)).exists():
        return path
    from ltx_core.checkpoint.hub_source import fetch_text_encoder

    return fetch_text_encoder(source, progress)


def text_encoder_beside(checkpoint: Checkpoint) -> Path | None:
    """The text encoder in the model's folder, or beside the model's file."""
    if checkpoint.text_encoder is not None:
        return checkpoint.text_encoder
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    beside = folder / TEXT_ENCODER
    return beside if (beside / "config.json").is_file() else None


def local_path(source: ModelSource) -> Path:
    """The location as a path on this machine, whether it is there or not."""
    return Path(source.location).expanduser()


def _check_flavour(checkpoint: Checkpoint, name: str) -> None:
    wanted = flavour(name)
    if wanted.generation != checkpoint.generation:
        raise CheckpointError(
            f"{checkpoint.path} is an LTX-{checkpoint.generation} model and the flavour {name} is LTX-"
            f"{wanted.generation}; set the flavour that it is, or none"
        )
    found = scheme_of(checkpoint.weights("transformer").values())
    if found != wanted.stored:
        raise CheckpointError(
            f"the transformer in {checkpoint.path} is stored {'in ' if found != 'unquantised' else ''}{found} and the "
            f"flavour {name} is {wanted.stored}; set the flavour that it is, or none, or give {', '.join(wanted.files)}"
        )


def _open(source: ModelSource, paths: tuple[Path, ...], components: Sequence[str]) -> Checkpoint:
    first = paths[0]
    if first.is_dir() and is_folder(first):
        return open_folder(first, components=components)
    if first.is_file() and len(paths) == 1:
        return open_checkpoint(first, components=components)
    folder = first if first.is_dir() else first.parent.parent
    files = find_whole(first, "**/*.safetensors") if first.is_dir() else list(paths)
    if not files:
        raise CheckpointError(f"{folder} has no .safetensors file and no {INDEX}; give a folder with a model in it")
    preferred = () if source.flavour is None else [Path(name).name for name in flavour(source.flavour).files]
    headers = [read_header(file) for file in files]
    return open_pack(folder, headers, components=components, preferred=preferred)
