"""A text encoder's folder in Hugging Face layout: which files it has and how wide its hidden states are. No torch."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from ltx_core.errors import CheckpointError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""What may decide which ids a text gets."""
SUPPORTED = "gemma3"


class TextEncoderFiles(NamedTuple):
    """The files that decide what a text becomes."""

    config: Path
    weights: tuple[Path, ...]
    """The shards and, where there are several, their index."""
    tokenizer: tuple[Path, ...]


def text_encoder_files(folder: Path) -> TextEncoderFiles:
    """Find them.

    Raises:
        CheckpointError: some are missing; says which, and what a whole folder holds.
    """
    config = folder / "config.json"
    index = folder / "model.safetensors.index.json"
    weights = (index, *_shards(index)) if index.is_file() else (folder / "model.safetensors",)
    tokenizer = tuple(folder / name for name in TOKENIZER_FILES if (folder / name).is_file())
    missing = [path.name for path in (config, *weights) if not path.is_file()]
    if not any(path.name in ("tokenizer.json", "tokenizer.model") for path in tokenizer):
        missing.append("tokenizer.json")
    if missing:
        raise CheckpointError(
            f"{folder} {'lacks' if folder.is_dir() else 'is no folder; it would need'} {', '.join(missing)}; the Gemma "
            "folder holds config.json, model*.safetensors and the tokenizer's files. Download it whole."
        )
    return TextEncoderFiles(config, weights, tokenizer)


def text_encoder_config(folder: Path) -> dict[str, Any]:
    """The text model's part of config.json.

    Raises:
        CheckpointError: config.json is missing or torn, or of a model that LTX-2.0 and 2.3 were not trained with.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); give the folder of Gemma 3 12B") from error
    kind = config.get("model_type")
    if kind != SUPPORTED:
        raise CheckpointError(
            f"{folder} holds a {kind} model; {SUPPORTED} is wanted (google/gemma-3-12b-it-qat-q4_0-unquantized for the "
            "released models). The Gemma 4 encoder of LTX-2.5 is not supported yet."
        )
    text: dict[str, Any] = config["text_config"]
    return text


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{index} is damaged ({error}); download it again") from error
    return tuple(index.with_name(name) for name in sorted(names))
