"""The golden models in the other layouts that people have: LTX-2.5's pack, and diffusers' folder."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_audio_vae, load_transformer, load_video_vae, load_vocoder

GOLDEN = Path(__file__).parent / "golden"
TRANSFORMER = "diffusion_models/ltx-2.5-22b-dev-transformer-bf16.safetensors"
TEXT_ENCODER = "text_encoders/gemma4-12b-with-proj-ltx-2.5-bf16.safetensors"
VIDEO_VAE = "vae/ltx-2.5-video-vae-conv-bf16.safetensors"
AUDIO_VAE = "vae/ltx-2.5-audio-vae-bf16.safetensors"


def write_pack(root: Path) -> Path:
    """LTX-2.5's pack: its transformer and text encoder, with the autoencoders of 2.3, whose layout is the same.

    The video VAE's tensors come without prefix, the audio VAE's with theirs.
    """
    transformer, config, metadata = _read("2.5")
    others, autoencoders, _ = _read("2.3")
    kept = {name: tensor for name, tensor in transformer.items() if name.startswith("model.diffusion_model.")}
    _write(root / TRANSFORMER, kept, {**metadata, "config": json.dumps({"transformer": config["transformer"]})})
    (root / TEXT_ENCODER).parent.mkdir(parents=True)
    (root / TEXT_ENCODER).write_bytes((GOLDEN / "2.5" / "text_encoder.safetensors").read_bytes())
    video = {name.removeprefix("vae."): tensor for name, tensor in others.items() if name.startswith("vae.")}
    _write(root / VIDEO_VAE, video, {"config": json.dumps({"vae": autoencoders["vae"]})})
    sound = {name: tensor for name, tensor in others.items() if name.startswith(("audio_vae.", "vocoder."))}
    sections = {name: autoencoders[name] for name in ("audio_vae", "vocoder")}
    _write(root / AUDIO_VAE, sound, {"config": json.dumps(sections)})
    return root


def write_diffusers(root: Path) -> Path:
    """The whole of 2.3 as diffusers saves it."""
    checkpoint = open_combined(GOLDEN / "2.3" / "checkpoint.safetensors")
    loaders: Mapping[str, Callable[..., Any]] = {
        "transformer": load_transformer,
        "vae": load_video_vae,
        "audio_vae": load_audio_vae,
        "vocoder": load_vocoder,
    }
    for folder, load in loaders.items():
        module = load(checkpoint, device="cpu", dtype=torch.bfloat16)
        sharding = {"max_shard_size": "200KB"} if folder == "transformer" else {}
        module.save_pretrained(root / folder, **sharding)
    vocoder = root / "vocoder" / "config.json"  # diffusers' own conversion leaves the first stage unbounded
    vocoder.write_text(json.dumps({**json.loads(vocoder.read_text()), "final_act_fn": None}))
    _connectors(checkpoint).save_pretrained(root / "connectors")
    (root / "model_index.json").write_text(json.dumps({"_class_name": "LTX2Pipeline"}))
    return root


def _connectors(checkpoint: Any) -> LTX2TextConnectors:
    streams = ("video_connector", "audio_connector")
    arguments = checkpoint.arguments("connectors")
    own = {
        f"{stream}_{name}": arguments[stream][name]
        for stream in streams
        for name in ("num_attention_heads", "attention_head_dim", "num_layers", "num_learnable_registers")
    }
    connectors = LTX2TextConnectors(
        caption_channels=32,
        text_proj_in_factor=5,
        connector_rope_base_seq_len=arguments["video_connector"]["rope_base_seq_len"],
        rope_double_precision=True,
        rope_type="split",
        video_gated_attn=True,
        audio_gated_attn=True,
        per_modality_projections=True,
        proj_bias=True,
        video_hidden_dim=32,
        audio_hidden_dim=16,
        **own,
    )
    tensors = {
        **_values(checkpoint, "connectors"),
        **_values(checkpoint, "text_projection"),
    }
    connectors.load_state_dict(tensors)
    return connectors.to(torch.bfloat16)


def _values(checkpoint: Any, component: str) -> dict[str, torch.Tensor]:
    stored = load_file(checkpoint.path)
    return {name: stored[weight.values.name] for name, weight in checkpoint.weights(component).items()}


def _read(generation: str) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, str]]:
    path = GOLDEN / generation / "checkpoint.safetensors"
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    return load_file(path), json.loads(metadata["config"]), metadata


def _write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)
