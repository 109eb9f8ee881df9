"""Find a model and its text encoder, on this machine or on the hub, and open them by what is in them. No torch."""

from collections.abc import Sequence
from pathlib import Path

from ltx_core.checkpoint.flavours import published
from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.checkpoint.layouts import INDEX, TEXT_ENCODER, is_diffusers, open_combined, open_diffusers, open_pack
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.stored import scheme_of
from ltx_core.errors import CheckpointError
from ltx_core.hub.repository import Repository
from ltx_core.io.atomic import find_whole
from ltx_core.io.safetensors import read_header
from ltx_core.progress import Progress

Place = Path | Repository
"""A combined file, a folder (a pack, or diffusers' layout) or a text encoder's; or a repository on the hub."""


def open_model(place: Place, flavour: str | None = None, *, components: Sequence[str] = COMPONENTS) -> Model:
    """Find the model, download what is missing, and open it by what is in it. Weights are not read.

    `flavour`: which of a repository's models; of local files, what they must turn out to be. See flavours.py.

    Raises:
        CheckpointError: there is nothing, it cannot be fetched, or it is no whole LTX-2 model, or of another
            generation or stored otherwise than the flavour.
        ConfigError: the flavour is unknown.
        TransientError: the network or the hub failed.
        StorageError: the disk is full.
    """
    model = _open(locate(place, flavour), flavour, components)
    if flavour is not None:
        _check_flavour(model, flavour)
    return model


def locate(place: Place, flavour: str | None = None, progress: Progress | None = None) -> tuple[Path, ...]:
    """The file or folder on this machine, or the files of a pack; downloaded if the place is on the hub.

    `progress`: reports a download; default a bar of the hub's client.

    Raises:
        CheckpointError, ConfigError, TransientError, StorageError: as for `open_model`.
    """
    if isinstance(place, Path):
        return (_existing(place, "a combined .safetensors file, a folder"),)
    from ltx_core.checkpoint.hub import fetch_model

    return fetch_model(place, flavour, progress)


def locate_text_encoder(place: Place, progress: Progress | None = None) -> Path:
    """The text encoder on this machine: a folder or packed file; fetched if the place is on the hub.

    A repository may be a text encoder's own, or a model's with the folders `text_encoder` and `tokenizer`.

    Raises:
        CheckpointError, TransientError, StorageError: as for `open_model`.
    """
    if isinstance(place, Path):
        return _existing(place, "the folder of Gemma, LTX-2.5's text encoder file")
    from ltx_core.checkpoint.hub import fetch_text_encoder

    return fetch_text_encoder(place, progress)


def text_encoder_beside(model: Model) -> Path | None:
    """The text encoder in the model's folder, or beside the model's file."""
    if model.text_encoder is not None:
        return model.text_encoder
    folder = model.path if model.path.is_dir() else model.path.parent
    beside = folder / TEXT_ENCODER
    return beside if (beside / "config.json").is_file() else None


def _existing(path: Path, wanted: str) -> Path:
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; {wanted} or a repository on the hub (`Lightricks/LTX-2`) is wanted"
        )
    return path


def _check_flavour(model: Model, name: str) -> None:
    wanted = published(name)
    if wanted.generation != model.generation:
        raise CheckpointError(
            f"{model.path} is an LTX-{model.generation} model and the flavour {name} is LTX-{wanted.generation}; set "
            "the flavour that it is, or none"
        )
    found = scheme_of(model.weights("transformer").values())
    if found != wanted.stored:
        raise CheckpointError(
            f"the transformer in {model.path} is stored {'in ' if found != 'unquantised' else ''}{found} and the "
            f"flavour {name} is {wanted.stored}; set the flavour that it is, or none, or give {', '.join(wanted.files)}"
        )


def _open(paths: tuple[Path, ...], flavour: str | None, components: Sequence[str]) -> Model:
    first = paths[0]
    if first.is_dir() and is_diffusers(first):
        return open_diffusers(first, components=components)
    if first.is_file() and len(paths) == 1:
        return open_combined(first, components=components)
    folder = first if first.is_dir() else first.parent.parent
    files = find_whole(first, "**/*.safetensors") if first.is_dir() else list(paths)
    if not files:
        raise CheckpointError(f"{folder} has no .safetensors file and no {INDEX}; give a folder with a model in it")
    preferred = () if flavour is None else [Path(name).name for name in published(flavour).files]
    return open_pack(folder, [read_header(file) for file in files], components=components, preferred=preferred)
