"""Models that see images, as transformers folders here or on the hub: DINOv2 and CLIP. No torch."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltx_core.checkpoint.stored import StoredTensor, tensors_of
from ltx_core.checkpoint.text_encoder import shards
from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.hub.repository import PendingFile, fetched_model, path_or_repository, pending_of_model
from ltx_core.io.atomic import find_whole
from ltx_core.io.digest import DigestMemo
from ltx_core.io.json_file import model_config
from ltx_core.io.safetensors import read_header
from ltx_core.progress import Progress

MODEL_TYPE = "dinov2"
FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")
"""Files of a repository that are downloaded."""
BELOW = ("*/*",)
"""Folders of a repository are left."""
BODY = "dinov2."
"""The prefix of the encoder's tensors in a classifier's file."""
HEAD = "classifier."


@dataclass(frozen=True)
class StoredEncoder:
    """The properties of an encoder, from its config and the headers."""

    folder: Path
    config: dict[str, Any]
    files: tuple[Path, ...]
    """Config and weights: what decides its features."""
    weights: dict[str, StoredTensor]
    """By the names of transformers' `Dinov2Model`."""

    @property
    def patch_size(self) -> int:
        """Edge of a patch in pixels."""
        return int(self.config["patch_size"])

    @property
    def width(self) -> int:
        """Of a feature."""
        return int(self.config["hidden_size"])

    @property
    def num_weights(self) -> int:
        """Their number."""
        return sum(math.prod(tensor.shape) for tensor in self.weights.values())


def open_encoder(folder: Path) -> StoredEncoder:
    """Open a folder; weights are not read.

    Raises:
        CheckpointError: files are missing or damaged, or it is another kind of model.
    """
    config_file = folder / "config.json"
    config = model_config(
        config_file,
        "a transformers folder of DINOv2 with config.json and model.safetensors is wanted, such as a download of "
        "facebook/dinov2-giant",
    )
    if config.get("model_type") != MODEL_TYPE:
        raise CheckpointError(f"{folder} holds a {config.get('model_type')} model; {MODEL_TYPE} is wanted")
    weights = weight_files(folder)
    stored = tensors_of(*weights).items()
    body = {name.removeprefix(BODY): tensor for name, tensor in stored if not name.startswith(HEAD)}
    return StoredEncoder(folder, config, (config_file, *weights), body)


def check_image_size(encoder: StoredEncoder, image_size: int) -> None:
    """See that images of this edge are whole patches.

    Raises:
        ConfigError: they are not.
    """
    patch = encoder.patch_size
    if image_size % patch:
        raise ConfigError(
            f"image_size {image_size} is no multiple of the encoder's patches of {patch} pixels; set "
            f"{image_size // patch * patch or patch} or {(image_size // patch + 1) * patch}"
        )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Files of a folder's weights: those of its index, or one.

    Raises:
        CheckpointError: one is missing.
    """
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    found = shards(index) if index.is_file() and not whole.is_file() else (whole,)
    if missing := [path.name for path in found if not path.is_file()]:
        raise CheckpointError(
            f"{folder} lacks {', '.join(missing)}; download it whole. Weights in .bin or .pth files are not read: "
            f"they can run code."
        )
    return found


WEIGHTS = "model.safetensors"
READ = ("config.json", "preprocessor_config.json", WEIGHTS)
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
ALLOW = ("*.json", "merges.txt", WEIGHTS)
"""Files of a repository that are fetched."""


def check_clip(location: str) -> None:
    """See, without the network, that a model which lies here is whole.

    Raises:
        CheckpointError: it is not, or the location leads nowhere.
    """
    if isinstance(place := path_or_repository(location), Path):
        _checked(place)


def pending_clip(location: str) -> tuple[PendingFile, ...]:
    """Return what `locate_clip` would download.

    Raises:
        CheckpointError, TransientError: it is not there, here or on the hub.
    """
    check_clip(location)
    return pending_of_model(path_or_repository(location), ALLOW, BELOW)


def locate_clip(location: str, progress: Progress) -> Path:
    """The folder on this machine; a repository is downloaded first, unless it is already here.

    Raises:
        CheckpointError: no CLIP model is there, or its weights are pickled only.
        TransientError: the network or the hub failed.
    """
    return _checked(fetched_model(path_or_repository(location), ALLOW, BELOW, progress))


def clip_identity(folder: Path, memo: DigestMemo) -> str:
    """Digest of every file that is read of the folder."""
    return memo.of_model(sorted(path for pattern in ALLOW for path in find_whole(folder, pattern)))


def _checked(folder: Path) -> Path:
    """The folder, if it has all that is read.

    Raises:
        CheckpointError: something is missing; says what.
    """
    missing = [name for name in READ if not (folder / name).is_file()]
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        missing.append(TOKENIZERS[0][0])
    if missing:
        raise CheckpointError(
            f"{folder} is no CLIP model of transformers that can be read: {', '.join(missing)} missing; give such a "
            f"folder or a repository with {WEIGHTS} such as openai/clip-vit-large-patch14 (not pickled weights)"
        )
    read_header(folder / WEIGHTS)
    kind = model_config(folder / "config.json", "download it again").get("model_type")
    if kind != "clip":
        raise CheckpointError(f"{folder} is a model of type {kind!r}; a CLIP model is wanted")
    return folder
