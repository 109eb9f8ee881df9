"""Open a diffusers folder: a subfolder with config.json and safetensors for each component.

Its weights are read by the same strict, streaming reader as Lightricks' files: diffusers' own from_pretrained makes up
what is missing and only warns of what it does not know.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.checkpoint.text_encoder import shards
from ltx_core.errors import CheckpointError
from ltx_core.files.json_file import parse_object
from ltx_core.files.safetensors import read_header

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
SOUND = {"fft_size": 1024, "lowest_hertz": 0, "highest_hertz": 8000}
"""How every released model turns sound into mel bins; a folder's configs do not say."""


def is_folder(path: Path) -> bool:
    """Whether a folder is in diffusers' layout."""
    return (path / "model_index.json").is_file() or (path / "transformer" / "config.json").is_file()


def open_folder(path: Path, *, components: Sequence[str] = COMPONENTS) -> Checkpoint:
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
    text_encoder = path / "text_encoder"
    checkpoint = Checkpoint(
        path=path,
        generation=_generation(configs["transformer"]),
        model_version="",
        config=_described(configs),
        stored={name: _stored(path / FOLDERS[name], name) for name in present},
        text_encoder=text_encoder if text_encoder.is_dir() else None,
        modules={name: _arguments(name, configs[FOLDERS[name]]) for name in present},
    )
    for name in present:
        checkpoint.weights(name)
    return checkpoint


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = parse_object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); download the folder again") from error
    found = config.get("_class_name")
    if found not in CLASSES[folder.name]:
        raise CheckpointError(
            f"{folder} holds a {found}; {' or '.join(CLASSES[folder.name])} is wanted. Give a folder of LTX-2 "
            "with the convolutional video VAE."
        )
    return config


def _generation(transformer: Mapping[str, Any]) -> str:
    if transformer.get("use_keyframes_abs_pos_embedding", False):
        return "2.5"
    return "2.3" if transformer.get("cross_attn_mod", False) else "2.0"


def _stored(folder: Path, component: str) -> dict[str, StoredTensor]:
    index = folder / f"{STEM}.safetensors.index.json"
    files = shards(index) if index.is_file() else (folder / f"{STEM}.safetensors",)
    tensors = {
        name: StoredTensor(file, name, entry) for file in files for name, entry in read_header(file).tensors.items()
    }
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
    """What Lightricks' header would say and the modules' arguments do not."""
    per_modality = configs.get("connectors", {}).get("per_modality_projections", False)
    config: dict[str, Any] = {"transformer": {"text_encoder_norm_type": "per_token_rms"} if per_modality else {}}
    if audio := configs.get("audio_vae"):
        config["audio_vae"] = {
            "preprocessing": {
                "audio": {"sampling_rate": audio["sample_rate"]},
                "stft": {"hop_length": audio["mel_hop_length"], "filter_length": SOUND["fft_size"]},
                "mel": {
                    "n_mel_channels": audio["mel_bins"],
                    "mel_fmin": SOUND["lowest_hertz"],
                    "mel_fmax": SOUND["highest_hertz"],
                },
            }
        }
    return config
