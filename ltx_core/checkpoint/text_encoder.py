"""A text encoder as it is stored: a Hugging Face folder (Gemma 3), or LTX-2.5's packed file (Gemma 4). No torch."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ltx_core.checkpoint.stored import StoredTensor, tensors_digest, tensors_of
from ltx_core.errors import CheckpointError
from ltx_core.io.digest import WEIGHTS, DigestMemo, text_digest
from ltx_core.io.json_file import model_config, parse_object
from ltx_core.io.safetensors import read_header

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Files that may decide which ids a text gets."""

SUPPORTED = ("gemma3", "gemma4_unified")

TOKENIZER_TENSOR, ASSET_PREFIX = "tokenizer_json", "hf_asset__"
"""Files that a packed text encoder holds as tensors of bytes."""

LANGUAGE_MODEL = re.compile(
    r"(?:language_model\.model\.|model\.language_model\.|model\.)(?=layers\.|embed_tokens\.|norm\.)"
)
"""Beginnings of the names of the text model's tensors, in the known layouts, without image and audio towers."""


class TextEncoderFiles(NamedTuple):
    """The files of a folder that decide what a text becomes."""

    config: Path
    weights: tuple[Path, ...]
    """The shards and, where there are several, their index."""
    tokenizer: tuple[Path, ...]


@dataclass(frozen=True)
class StoredTextEncoder:
    """The properties of a text encoder, from headers and small files."""

    path: Path
    config: dict[str, Any]
    """As transformers has it, the text model's part under `text_config`."""
    weights: Mapping[str, StoredTensor]
    """The text model's tensors by the names they have in its module."""
    folder: TextEncoderFiles | None = None
    """None for a packed file."""
    assets: Mapping[str, StoredTensor] = field(default_factory=dict)
    """Files inside a packed file, by name: tokenizer.json and others."""

    @property
    def kind(self) -> str:
        """transformers' model type."""
        return str(self.config["model_type"])

    @property
    def text_config(self) -> dict[str, Any]:
        """The text model's sizes."""
        text: dict[str, Any] = self.config["text_config"]
        return text

    def size(self, name: str) -> int:
        """One of the text model's sizes, that every config names.

        Raises:
            CheckpointError: it is no whole number, or not there.
        """
        found = self.text_config.get(name)
        if type(found) is not int:
            raise CheckpointError(
                f"the config of {self.path} has {found!r} for {name} of its text model; a whole number is wanted. "
                "Download it again."
            )
        return found

    @property
    def gemma_version(self) -> str | None:
        """Lightricks' name for its own training of Gemma; None for Google's."""
        return self.config.get("gemma_version")

    def asset(self, name: str) -> bytes:
        """One of the files inside a packed file."""
        stored = self.assets[name]
        with stored.path.open("rb") as file:
            file.seek(stored.entry.begin)
            return file.read(stored.entry.end - stored.entry.begin)

    def identities(self, memo: DigestMemo) -> dict[str, str]:
        """Digests of `text_encoder` (config and weights) and `tokenizer`. Unchanged files are read once, as long as
        `memo` is saved."""
        if (files := self.folder) is not None:
            parts = {"text_encoder": (files.config, *files.weights), "tokenizer": files.tokenizer}
            return {part: memo.of_model(paths) for part, paths in parts.items()}
        weights, tokenizer = (
            memo.get(
                self.path,
                f"{WEIGHTS}:{part}",
                partial(tensors_digest, self.path, sorted(tensors.items()), memo.progress),
            )
            for part, tensors in (("text_encoder", self.weights), ("tokenizer", self.assets))
        )
        return {"text_encoder": text_digest(json.dumps(self.config, sort_keys=True), weights), "tokenizer": tokenizer}


def open_text_encoder(path: Path) -> StoredTextEncoder:
    """Open a folder or a packed file.

    Raises:
        CheckpointError: files are missing or damaged, or it is a model that LTX-2 was not trained with.
    """
    if path.is_file():
        return _packed(path)
    files = text_encoder_files(path)
    config = model_config(files.config, "download it again")
    tensors = tensors_of(*(file for file in files.weights if file.suffix == ".safetensors"))
    return StoredTextEncoder(path, _checked(path, config), _language_model(tensors), folder=files)


def text_encoder_files(folder: Path) -> TextEncoderFiles:
    """Find a folder's files. In a diffusers folder the tokenizer lies beside, in `tokenizer`.

    Raises:
        CheckpointError: some are missing; says which, and what a whole folder holds.
    """
    config = folder / "config.json"
    index = folder / "model.safetensors.index.json"
    weights = (index, *shards(index)) if index.is_file() else (folder / "model.safetensors",)
    tokenizer = _tokenizer(folder) or _tokenizer(folder.parent / "tokenizer")
    missing = [path.name for path in (config, *weights) if not path.is_file()]
    if not any(path.name in ("tokenizer.json", "tokenizer.model") for path in tokenizer):
        missing.append("tokenizer.json")
    if missing:
        raise CheckpointError(
            f"{folder} {'lacks' if folder.is_dir() else 'is no folder; it would need'} {', '.join(missing)}; the Gemma "
            "folder holds config.json, model*.safetensors and the tokenizer's files. Download it whole."
        )
    return TextEncoderFiles(config, weights, tokenizer)


def shards(index: Path) -> tuple[Path, ...]:
    """The files that an index of sharded weights names.

    Raises:
        CheckpointError: the index is damaged.
    """
    try:
        names = set(parse_object(index.read_bytes())["weight_map"].values())
        return tuple(index.with_name(name) for name in sorted(names))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{index} is damaged ({error}); it should name files of its own folder. Download it again."
        ) from error


def _tokenizer(folder: Path) -> tuple[Path, ...]:
    found = tuple(folder / name for name in TOKENIZER_FILES if (folder / name).is_file())
    return found if any(path.name.startswith("tokenizer.") for path in found) else ()


def _packed(path: Path) -> StoredTextEncoder:
    raw = read_header(path).metadata.get("gemma_config")
    tensors = tensors_of(path)
    if raw is None or TOKENIZER_TENSOR not in tensors:
        raise CheckpointError(
            f"{path} is no packed text encoder: it lacks `gemma_config` in its header or `{TOKENIZER_TENSOR}` among "
            "its tensors. Give LTX-2.5's text encoder file, or the folder of Gemma 3 for LTX-2.0 and 2.3."
        )
    try:
        config = parse_object(raw)
    except ValueError as error:
        raise CheckpointError(f"`gemma_config` in {path} is no JSON object ({error}); download it again") from error
    assets = {
        name.removeprefix(ASSET_PREFIX): stored for name, stored in tensors.items() if name.startswith(ASSET_PREFIX)
    }
    assets["tokenizer.json"] = tensors[TOKENIZER_TENSOR]
    return StoredTextEncoder(path, _checked(path, config), _language_model(tensors), assets=assets)


def _language_model(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    return {LANGUAGE_MODEL.sub("", name, 1): stored for name, stored in tensors.items() if LANGUAGE_MODEL.match(name)}


def _checked(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    kind = config.get("model_type")
    if kind not in SUPPORTED or not isinstance(config.get("text_config"), dict):
        raise CheckpointError(
            f"{path} holds a {kind} model; {' or '.join(SUPPORTED)} is wanted: Gemma 3 12B "
            "(google/gemma-3-12b-it-qat-q4_0-unquantized) for LTX-2.0 and 2.3, Lightricks' own Gemma 4 for LTX-2.5."
        )
    return config
