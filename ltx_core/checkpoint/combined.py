"""Open Lightricks' own files: one with every component, or a pack of one file for each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltx_core.checkpoint.keys import COMPONENTS, belongs_to, combined_name
from ltx_core.checkpoint.model import SECTIONS, Checkpoint
from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.errors import CheckpointError
from ltx_core.files.json_file import parse_object
from ltx_core.files.safetensors import SafetensorsHeader, read_header

__all__ = ["SECTIONS", "Checkpoint", "generation", "open_checkpoint", "open_pack"]

PACKED_TEXT_ENCODER = "gemma_config"
"""Metadata that only a packed text encoder has."""


def open_checkpoint(path: Path, *, components: Sequence[str] = COMPONENTS) -> Checkpoint:
    """Read the header of a combined checkpoint and see that everything asked for is there.

    Raises:
        CheckpointError: the file is something else (says what it seems to be), lacks a component or its config, or
            holds weights quantised in a way that cannot be read.
    """
    header = read_header(path)
    if header_config(header) is None:
        raise CheckpointError(
            f"{path} has no config in its header{_seems(header)}; a combined LTX-2 checkpoint in Lightricks' "
            "layout is wanted. Give the single file that Lightricks published."
        )
    return open_pack(path, [header], components=components)


def open_pack(
    path: Path,
    headers: Sequence[SafetensorsHeader],
    *,
    components: Sequence[str] = COMPONENTS,
    preferred: Sequence[str] = (),
) -> Checkpoint:
    """Put a model together from files, by what is in them. `path` stands for all of them in messages.

    `preferred`: file names that win where several files hold the same component.

    Raises:
        CheckpointError: a component is missing, held by several files, or cannot be read; no file has a transformer.
    """
    owners = {name: _owner(path, name, headers, preferred) for name in COMPONENTS}
    stored = {name: _stored(name, header) for name, header in owners.items() if header is not None}
    config = _merged(headers, owners)
    if missing := [name for name in components if name not in stored or SECTIONS[name] not in config]:
        seems = _seems(headers[0]) if len(headers) == 1 else ""
        raise CheckpointError(
            f"{path} lacks {', '.join(missing)}{seems}; a combined checkpoint with transformer, connectors, "
            "text projection, both VAEs and vocoder is wanted, or a folder with a file for each. Give the file that "
            "Lightricks calls the full model, or the folder of a whole pack."
        )
    metadata = _metadata(owners, headers)
    checkpoint = Checkpoint(
        path=path,
        generation=generation(config),
        model_version=metadata.get("model_version", ""),
        config=config,
        stored=stored,
        text_encoder=_text_encoder(path, headers, preferred),
        gemma_version=_gemma_version(path, metadata),
    )
    for name in stored:
        checkpoint.weights(name)
    return checkpoint


def generation(config: Mapping[str, Any]) -> str:
    """The generation by the transformer's features.

    Raises:
        CheckpointError: the config has no transformer.
    """
    transformer = config.get("transformer")
    if not isinstance(transformer, dict):
        raise CheckpointError(
            f"the header's config has {sorted(config)} and no transformer; give a combined checkpoint"
        )
    if transformer.get("use_keyframes_abs_pos_embedding", False):
        return "2.5"
    return "2.3" if transformer.get("cross_attention_adaln", False) else "2.0"


def header_config(header: SafetensorsHeader) -> dict[str, Any] | None:
    """The header's config; None if it has none.

    Raises:
        CheckpointError: it is no JSON object.
    """
    return None if "config" not in header.metadata else _object(header.path, "config", header.metadata["config"])


def _object(path: Path, name: str, raw: str) -> dict[str, Any]:
    try:
        return parse_object(raw)
    except ValueError as error:
        raise CheckpointError(f"the {name} in the header of {path} is no JSON object: {error}") from error


def _holds(component: str, header: SafetensorsHeader) -> bool:
    bare = _bare(header)
    return any(belongs_to(component, combined_name(name, bare=bare)) for name in header.tensors)


def _bare(header: SafetensorsHeader) -> bool:
    """Whether it is a video VAE alone, whose tensors may come without their prefix."""
    config = header_config(header) or {}
    return "vae" in config and "transformer" not in config


def _owner(
    path: Path, component: str, headers: Sequence[SafetensorsHeader], preferred: Sequence[str]
) -> SafetensorsHeader | None:
    """The file that a component comes from. A transformer's own text projection goes before a text encoder's."""
    found = [header for header in headers if _holds(component, header)]
    for best in (lambda header: header.path.name in preferred, lambda header: _holds("transformer", header)):
        if len(found) > 1 and (chosen := [header for header in found if best(header)]):
            found = chosen
    if len(found) > 1:
        raise CheckpointError(
            f"{path} has several files with a {component}: {', '.join(header.path.name for header in found)}. Set "
            "the flavour, give one combined file itself, or leave one file for each component in the folder."
        )
    return found[0] if found else None


def _stored(component: str, header: SafetensorsHeader) -> dict[str, StoredTensor]:
    bare = _bare(header)
    names = {name: combined_name(name, bare=bare) for name in header.tensors}
    return {
        names[name]: StoredTensor(header.path, name, entry)
        for name, entry in header.tensors.items()
        if belongs_to(component, names[name])
    }


def _merged(headers: Sequence[SafetensorsHeader], owners: Mapping[str, SafetensorsHeader | None]) -> dict[str, Any]:
    """Every section from the file of its own component; the rest from whoever has it."""
    merged: dict[str, Any] = {}
    for header in headers:
        merged = {**(header_config(header) or {}), **merged}
    for component, section in reversed(SECTIONS.items()):
        config = (header_config(owner) or {}) if (owner := owners[component]) else {}
        if section in config:
            merged[section] = config[section]
    return merged


def _metadata(
    owners: Mapping[str, SafetensorsHeader | None], headers: Sequence[SafetensorsHeader]
) -> Mapping[str, str]:
    return (owners["transformer"] or headers[0]).metadata


def _text_encoder(path: Path, headers: Sequence[SafetensorsHeader], preferred: Sequence[str]) -> Path | None:
    found = [header.path for header in headers if PACKED_TEXT_ENCODER in header.metadata]
    chosen = [file for file in found if file.name in preferred] or found
    if len(chosen) > 1:
        raise CheckpointError(
            f"{path} has several text encoders: {', '.join(file.name for file in chosen)}; leave one, or name it by "
            "`text_encoder`"
        )
    return chosen[0] if chosen else None


def _gemma_version(path: Path, metadata: Mapping[str, str]) -> str | None:
    raw = metadata.get("gemma_source_checkpoint")
    return None if raw is None else _object(path, "gemma_source_checkpoint", raw).get("gemma_version")


def _seems(header: SafetensorsHeader) -> str:
    """What a wrong file most likely is, as a clause of a message."""
    names = list(header.tensors)
    kinds = (
        ("a LoRA", lambda name: ".lora_A." in name or ".lora_down." in name),
        ("a text encoder", lambda name: "embed_tokens" in name),
        ("a part of a diffusers folder", lambda name: name.startswith(("proj_in.", "encoder.", "video_connector."))),
        ("a transformer alone", lambda name: name.startswith("model.diffusion_model.")),
    )
    found = next((kind for kind, test in kinds if any(test(name) for name in names)), None)
    return f" and seems to be {found}" if found else ""
