"""A vision encoder as it is stored: a transformers folder of DINOv2. No torch."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.checkpoint.text_encoder import shards
from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.files.digest import DigestMemo, text_digest
from ltx_core.files.json_file import parse_object
from ltx_core.files.safetensors import read_header

MODEL_TYPE = "dinov2"
FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")
"""What is downloaded of a repository."""
BODY = "dinov2."
"""What the encoder's tensors begin with in a classifier's file."""
HEAD = "classifier."


@dataclass(frozen=True)
class StoredEncoder:
    """What the config and the headers say of an encoder."""

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
        """How many there are."""
        return sum(math.prod(tensor.shape) for tensor in self.weights.values())


def open_encoder(folder: Path) -> StoredEncoder:
    """Open a folder; weights are not read.

    Raises:
        CheckpointError: files are missing or damaged, or it is another kind of model.
    """
    config_file = folder / "config.json"
    try:
        config = parse_object(config_file.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{config_file} cannot be read ({error}); a transformers folder of DINOv2 with config.json and "
            f"model.safetensors is wanted, such as a download of facebook/dinov2-giant"
        ) from error
    if config.get("model_type") != MODEL_TYPE:
        raise CheckpointError(f"{folder} holds a {config.get('model_type')} model; {MODEL_TYPE} is wanted")
    weights = _weight_files(folder)
    stored = {name: StoredTensor(path, name, entry) for path in weights for name, entry in _entries(path)}
    body = {name.removeprefix(BODY): tensor for name, tensor in stored.items() if not name.startswith(HEAD)}
    return StoredEncoder(folder, config, (config_file, *weights), body)


def check_image_size(encoder: StoredEncoder, image_size: int) -> None:
    """See that pictures of this edge are whole patches.

    Raises:
        ConfigError: they are not.
    """
    patch = encoder.patch_size
    if image_size % patch:
        raise ConfigError(
            f"image_size {image_size} is no multiple of the encoder's patches of {patch} pixels; set "
            f"{image_size // patch * patch or patch} or {(image_size // patch + 1) * patch}"
        )


def encoder_identity(encoder: StoredEncoder, memo: DigestMemo) -> str:
    """Digest of config and weights, by content; unchanged files are read once as long as `memo` is saved."""
    return text_digest(*(part for path in encoder.files for part in (path.name, memo.get(path))))


def _weight_files(folder: Path) -> tuple[Path, ...]:
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    found = shards(index) if index.is_file() and not whole.is_file() else (whole,)
    if missing := [path.name for path in found if not path.is_file()]:
        raise CheckpointError(
            f"{folder} lacks {', '.join(missing)}; download it whole. Weights in .bin or .pth files are not read: "
            f"they can run code."
        )
    return found


def _entries(path: Path) -> list[tuple[str, Any]]:
    return list(read_header(path).tensors.items())
