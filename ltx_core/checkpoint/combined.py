"""Open a combined checkpoint: one safetensors file with transformer, connectors, projections, VAEs and vocoder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltx_core.checkpoint.header import SafetensorsHeader, TensorEntry, read_header
from ltx_core.checkpoint.keys import COMPONENTS, belongs_to, diffusers_name
from ltx_core.errors import CheckpointError

SECTIONS = {
    "transformer": "transformer",
    "connectors": "transformer",
    "text_projection": "transformer",
    "video_vae": "vae",
    "audio_vae": "audio_vae",
    "vocoder": "vocoder",
}
"""The section of the header's config that describes each component."""

FULL_DTYPES = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True)
class Checkpoint:
    """A combined checkpoint whose weights are not read yet."""

    path: Path
    generation: str
    """2.0, 2.3 or 2.5, by what the config says the model has; never by the file's name."""
    model_version: str
    config: dict[str, Any]
    """The header's config: transformer, vae, audio_vae, vocoder."""
    header: SafetensorsHeader

    def tensors(self, component: str) -> dict[str, TensorEntry]:
        """The component's tensors by the names they have in the file."""
        return {name: entry for name, entry in self.header.tensors.items() if belongs_to(component, name)}

    def shapes(self, component: str) -> dict[str, tuple[int, ...]]:
        """The component's shapes by the names they have in its module."""
        return {diffusers_name(component, name): entry.shape for name, entry in self.tensors(component).items()}


def open_checkpoint(path: Path, *, components: Sequence[str] = COMPONENTS) -> Checkpoint:
    """Read the header of a combined checkpoint and see that everything asked for is there.

    Raises:
        CheckpointError: the file is something else (says what it seems to be), lacks a component or its config, or
            holds quantised weights.
    """
    header = read_header(path)
    config = _config(header)
    checkpoint = Checkpoint(path, generation(config), header.metadata.get("model_version", ""), config, header)
    if missing := [name for name in components if not checkpoint.tensors(name) or SECTIONS[name] not in config]:
        raise CheckpointError(
            f"{path} lacks {', '.join(missing)}{_seems(header)}; a combined checkpoint with transformer, connectors, "
            "text projection, both VAEs and vocoder is wanted. Give the file that Lightricks calls the full model."
        )
    _refuse_quantised(checkpoint)
    return checkpoint


def generation(config: dict[str, Any]) -> str:
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


def _config(header: SafetensorsHeader) -> dict[str, Any]:
    raw = header.metadata.get("config")
    if raw is None:
        raise CheckpointError(
            f"{header.path} has no config in its header{_seems(header)}; a combined LTX-2 checkpoint in Lightricks' "
            "layout is wanted. Give the single file that Lightricks published."
        )
    try:
        config = json.loads(raw)
    except ValueError as error:
        raise CheckpointError(f"the config in the header of {header.path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"the config in the header of {header.path} is a {type(config).__name__}, not an object")
    return config


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


def _refuse_quantised(checkpoint: Checkpoint) -> None:
    found = {
        name: entry.dtype
        for component in COMPONENTS
        for name, entry in checkpoint.tensors(component).items()
        if entry.dtype not in FULL_DTYPES
    }
    if found:
        name, dtype = next(iter(found.items()))
        raise CheckpointError(
            f"{checkpoint.path} holds {len(found)} quantised tensors ({name} is {dtype}); weights in bfloat16 or "
            "float32 are wanted. Give the bf16 file of this model."
        )
