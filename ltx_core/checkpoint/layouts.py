"""Layouts of a model's files, and the functions that open each. No torch.

Lightricks publishes one combined file with every component, or a pack of one file for each; diffusers has a folder
with config.json and safetensors for each component. All are read by the same strict, streaming reader: diffusers' own
from_pretrained makes up what is missing and only warns of what it does not know.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltx_core.checkpoint.keys import COMPONENTS, belongs_to, combined_name
from ltx_core.checkpoint.model import SECTIONS, Model
from ltx_core.checkpoint.stored import StoredTensor, tensors_of
from ltx_core.checkpoint.text_encoder import shards
from ltx_core.errors import CheckpointError
from ltx_core.io.json_file import model_config, parse_object
from ltx_core.io.safetensors import SafetensorsHeader, read_header

PACKED_TEXT_ENCODER = "gemma_config"
"""Metadata that only a packed text encoder has."""
INDEX = "model_index.json"
TEXT_ENCODER = "text_encoder"
"""The folder of a text encoder beside a model, with `tokenizer` next to it: diffusers' layout."""


def open_combined(path: Path, *, components: Sequence[str] = COMPONENTS) -> Model:
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
) -> Model:
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
    metadata = (owners["transformer"] or headers[0]).metadata
    return Model(
        path=path,
        generation=generation(config),
        model_version=metadata.get("model_version", ""),
        config=config,
        stored=stored,
        text_encoder=_text_encoder(path, headers, preferred),
        gemma_version=_gemma_version(path, metadata),
    )


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
    return _generation(transformer, modulated="cross_attention_adaln")


def _generation(transformer: Mapping[str, Any], *, modulated: str) -> str:
    """`modulated`: how the layout names the modulation of attention to text."""
    if transformer.get("use_keyframes_abs_pos_embedding", False):
        return "2.5"
    return "2.3" if transformer.get(modulated, False) else "2.0"


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
    """True if it is a video VAE alone, whose tensors may come without their prefix."""
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
    """The most likely content of a wrong file, as a clause of a message."""
    names = list(header.tensors)
    kinds = (
        ("a LoRA", lambda name: ".lora_A." in name or ".lora_down." in name),
        ("a text encoder", lambda name: "embed_tokens" in name),
        ("a part of a diffusers folder", lambda name: name.startswith(("proj_in.", "encoder.", "video_connector."))),
        ("a transformer alone", lambda name: name.startswith("model.diffusion_model.")),
    )
    found = next((kind for kind, test in kinds if any(test(name) for name in names)), None)
    return f" and seems to be {found}" if found else ""


FOLDERS = {
    "transformer": "transformer",
    "connectors": "connectors",
    "text_projection": "connectors",
    "video_vae": "vae",
    "audio_vae": "audio_vae",
    "vocoder": "vocoder",
}
"""The subfolder of each component."""

CLASSES = {
    "transformer": ("LTX2VideoTransformer3DModel",),
    "connectors": ("LTX2TextConnectors",),
    "vae": ("AutoencoderKLLTX2Video",),
    "audio_vae": ("AutoencoderKLLTX2Audio",),
    "vocoder": ("LTX2Vocoder", "LTX2VocoderWithBWE"),
}
STEM = "diffusion_pytorch_model"
PROJECTIONS = ("text_proj_in.", "video_text_proj_in.", "audio_text_proj_in.")
SPECTROGRAM = {"fft_size": 1024, "lowest_hertz": 0, "highest_hertz": 8000}
"""The way in which every released model turns audio into mel bins; a folder's configs do not say."""


def is_diffusers(path: Path) -> bool:
    """True if a folder is in diffusers' layout."""
    return (path / INDEX).is_file() or (path / "transformer" / "config.json").is_file()


def open_diffusers(path: Path, *, components: Sequence[str] = COMPONENTS) -> Model:
    """Read the configs and headers of a diffusers folder.

    Raises:
        CheckpointError: a component's folder is missing or incomplete, of another class, or cannot be read.
    """
    present = [name for name in COMPONENTS if (path / FOLDERS[name]).is_dir()]
    if missing := sorted({FOLDERS[name] for name in components if name not in present}):
        raise CheckpointError(
            f"{path} lacks the folders {', '.join(missing)}; a diffusers folder of LTX-2 with "
            f"{', '.join(CLASSES)} is wanted. Download it whole."
        )
    configs = {folder: _config(path / folder) for folder in sorted({FOLDERS[name] for name in present})}
    if "transformer" not in configs:
        raise CheckpointError(f"{path} has no transformer folder; it decides which generation this is")
    text_encoder = path / TEXT_ENCODER
    return Model(
        path=path,
        generation=_generation(configs["transformer"], modulated="cross_attn_mod"),
        model_version="",
        config=_described(configs),
        stored={name: _in_folder(path / FOLDERS[name], name) for name in present},
        text_encoder=text_encoder if text_encoder.is_dir() else None,
        modules={name: _arguments(name, configs[FOLDERS[name]]) for name in present},
    )


def _config(folder: Path) -> dict[str, Any]:
    config = model_config(folder / "config.json", "download the folder again")
    found = config.get("_class_name")
    if found not in CLASSES[folder.name]:
        raise CheckpointError(
            f"{folder} holds a {found}; {' or '.join(CLASSES[folder.name])} is wanted. Give a folder of LTX-2 "
            "with the convolutional video VAE."
        )
    return config


def _in_folder(folder: Path, component: str) -> dict[str, StoredTensor]:
    index = folder / f"{STEM}.safetensors.index.json"
    files = shards(index) if index.is_file() else (folder / f"{STEM}.safetensors",)
    tensors = tensors_of(*files)
    if component not in ("connectors", "text_projection"):
        return tensors
    projections = component == "text_projection"
    return {name: stored for name, stored in tensors.items() if name.startswith(PROJECTIONS) == projections}


def _arguments(component: str, config: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {name: value for name, value in config.items() if not name.startswith("_")}
    if component == "transformer":  # adds no weights; without it spatio-temporal guidance silently does nothing
        return {**arguments, "perturbed_attn": True}
    if component == "connectors":
        return {f"{stream}_connector": _connector(stream, arguments) for stream in ("video", "audio")}
    if component == "text_projection":
        return {"per_modality_projections": arguments.get("per_modality_projections", False)}
    if component == "vocoder" and "bwe_in_channels" in arguments:  # Lightricks clamps, diffusers' conversion does not
        return {**arguments, "final_act_fn": arguments.get("final_act_fn") or "clamp"}
    return arguments


def _connector(stream: str, config: Mapping[str, Any]) -> dict[str, Any]:
    own = ("num_attention_heads", "attention_head_dim", "num_layers", "num_learnable_registers")
    try:
        return {
            **{name: config[f"{stream}_connector_{name}"] for name in own},
            "rope_base_seq_len": config["connector_rope_base_seq_len"],
            "rope_theta": config["rope_theta"],
            "rope_double_precision": config["rope_double_precision"],
            "rope_type": config["rope_type"],
            "gated_attention": config.get(f"{stream}_gated_attn", False),
        }
    except KeyError as error:
        raise CheckpointError(f"the config of the connectors lacks {error}; download the folder again") from error


def _described(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Entries of Lightricks' header that the modules' arguments do not have."""
    per_modality = configs.get("connectors", {}).get("per_modality_projections", False)
    config: dict[str, Any] = {"transformer": {"text_encoder_norm_type": "per_token_rms"} if per_modality else {}}
    if audio := configs.get("audio_vae"):
        config["audio_vae"] = {
            "preprocessing": {
                "audio": {"sampling_rate": audio["sample_rate"]},
                "stft": {"hop_length": audio["mel_hop_length"], "filter_length": SPECTROGRAM["fft_size"]},
                "mel": {
                    "n_mel_channels": audio["mel_bins"],
                    "mel_fmin": SPECTROGRAM["lowest_hertz"],
                    "mel_fmax": SPECTROGRAM["highest_hertz"],
                },
            }
        }
    return config
