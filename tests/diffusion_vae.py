"""A small video VAE of LTX-2.5 with a diffusion decoder, in the layout of Lightricks' file."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2VideoDiffusionDecoderModel
from safetensors.torch import load_file, save_file

from ltx_core.tiny.header import video_vae_section
from ltx_core.tiny.weights import draw, seeded

DECODER: dict[str, Any] = {
    "head_dim": 16,
    "stage_channels": [32, 16, 16, 16, 16],
    "stage_depths": [1, 1, 1, 1, 2],
    "stage_kernels": [[3, 2, 2], [3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "upsamples": [[[1, 2, 2], 2], [[2, 1, 1], 1], [[2, 2, 2], 1], [[2, 2, 2], 1]],
    "stage5_kernel": [3, 5, 5],
    "t_emb_dim": 16,
    "default_num_inference_steps": 2,
    "timestep_scale_multiplier": 1000.0,
}
RENAMED = (
    ("t_embedder.timestep_embedder.linear_1.", "t_embedder.mlp.0."),
    ("t_embedder.timestep_embedder.linear_2.", "t_embedder.mlp.2."),
    (".attn.to_out.0.", ".attn.proj."),
    (".attn.norm_q.", ".attn.q_norm."),
    (".attn.norm_k.", ".attn.k_norm."),
)


def decoder(channels: int) -> LTX2VideoDiffusionDecoderModel:
    """diffusers' class as `DECODER` describes it, with random weights."""
    with seeded(3):
        module = LTX2VideoDiffusionDecoderModel(
            latent_channels=channels,
            decoder_head_dim=DECODER["head_dim"],
            decoder_stage_channels=DECODER["stage_channels"],
            decoder_stage_depths=DECODER["stage_depths"],
            decoder_stage_kernels=DECODER["stage_kernels"][:4],
            decoder_upsample_strides=[stride for stride, _ in DECODER["upsamples"]],
            decoder_upsample_channel_reductions=[factor for _, factor in DECODER["upsamples"]],
            decoder_stage5_kernel=DECODER["stage5_kernel"],
            decoder_t_emb_dim=DECODER["t_emb_dim"],
            decoder_timestep_scale_multiplier=DECODER["timestep_scale_multiplier"],
            decoder_model_output_type="x0",
            decoder_num_inference_steps=DECODER["default_num_inference_steps"],
        )
        draw(module)
    return module.requires_grad_(False).eval()


def write_diffusion_vae(
    convolutional: Path, path: Path, *, gate: float | None = None
) -> LTX2VideoDiffusionDecoderModel:
    """Write the VAE that has the encoder of a `convolutional` one, and return its decoder.

    `gate`: every gate of a file whose decoder was distilled; its weights are those of the returned one divided by it.
    """
    tensors = {name: tensor for name, tensor in load_file(convolutional).items() if not name.startswith("decoder.")}
    channels = len(tensors["per_channel_statistics.mean-of-means"])
    module = decoder(channels).to(torch.bfloat16)
    tensors |= {f"decoder.{name}": tensor for name, tensor in as_published(module, gate).items()}
    tensors["decoder.coarse_head.weight"] = torch.ones(2, 2)
    section = {
        "_class_name": "CausalDiffusionVAE",
        "encoder": {"blocks": video_vae_section("2.5")["encoder_blocks"], "out_channels": channels, "patch_size": 4},
        "decoder": DECODER,
        "latent_channels": channels,
        "model_output_type": "x0",
    }
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, path, {"config": json.dumps({"vae": section})})
    return module


def as_published(module: LTX2VideoDiffusionDecoderModel, gate: float | None) -> dict[str, torch.Tensor]:
    """The decoder's tensors by Lightricks' names: query, key and value as one, and with gates where there is one."""
    made: dict[str, torch.Tensor] = {}
    fused: dict[str, list[torch.Tensor]] = {}
    for name, tensor in module.decoder.state_dict().items():
        own = name
        for ours, theirs in RENAMED:
            own = own.replace(ours, theirs)
        if part := next((part for part in (".to_q.", ".to_k.", ".to_v.") if part in own), None):
            fused.setdefault(own.replace(part, ".qkv."), []).append(tensor)
            continue
        gated = gate is not None and own.endswith((".attn.proj.weight", ".attn.proj.bias", ".mlp.w_down.weight"))
        made[own] = tensor / gate if gated else tensor
        if gated and own.endswith("weight"):
            place = own.replace("attn.proj.weight", "gate_msa").replace("mlp.w_down.weight", "gate_mlp")
            made[place] = torch.full((len(tensor),), gate, dtype=torch.bfloat16)
    return made | {name: torch.cat(parts) for name, parts in fused.items()}
