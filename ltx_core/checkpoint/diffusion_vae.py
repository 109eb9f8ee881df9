"""LTX-2.5's video VAE with a diffusion decoder: its header, and its tensors' way into diffusers' modules. No torch.

The encoder is that of the VAE with the convolutional decoder. The decoder is diffusers' LTX2VideoDiffusionDecoderModel.
Sources: Lightricks' configurator of video VAEs, whose defaults are taken for what a header leaves out, and diffusers'
conversion of the published file.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ltx_core.checkpoint.stored import PlainWeight, StoredTensor, Weight
from ltx_core.errors import CheckpointError

CONVOLUTIONAL = "CausalVideoAutoencoder"
"""The class in the header of the other kind."""
DECODER = "diffusion_decoder"
"""The name of the decoder's arguments among those of the VAE."""
CHANNELS, DEPTHS = (1024, 512, 256, 256, 128), (4, 6, 4, 2, 8)
KERNELS, LAST_KERNEL = ((3, 7, 7), (3, 7, 7), (3, 5, 5), (3, 5, 5)), (3, 7, 7)
UPSAMPLES = (((1, 2, 2), 2), ((2, 1, 1), 2), ((2, 2, 2), 1), ((2, 2, 2), 2))
FUSED = ".attn.qkv."
"""Query, key and value as one layer, whose rows are those of three."""
GATED = {
    ".attn.to_out.0.weight": ".gate_msa",
    ".attn.to_out.0.bias": ".gate_msa",
    ".mlp.w_down.weight": ".gate_mlp",
    ".context_proj.weight": ".gate_ctx",
    ".context_proj.bias": ".gate_ctx",
}
"""Ends of the names of weights whose rows a gate multiplies, and of the gate's; distilled decoders have gates."""


def is_diffusion_vae(config: Mapping[str, Any]) -> bool:
    """True if the header's config describes a video VAE with a diffusion decoder."""
    section = config.get("vae")
    return isinstance(section, dict) and section.get("_class_name", CONVOLUTIONAL) != CONVOLUTIONAL


def encoder_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder's part of such a header in the words of the other kind of VAE."""
    own = section.get("encoder", section)
    latents = section.get("latent_channels", 128)
    if own is not section:  # where its result's width has a name of its own
        latents = own.get("out_channels", latents)
    return {
        "encoder_blocks": own.get("blocks", own.get("encoder_blocks", ())),
        "encoder_base_channels": latents,
        "latent_channels": latents,
        "patch_size": own.get("patch_size", 4),
        "in_channels": own.get("in_channels", 3),
        "norm_layer": own.get("norm_layer", "pixel_norm"),
        "padding": own.get("spatial_padding_mode", section.get("encoder_spatial_padding_mode", "zeros")),
        "scaling_factor": section.get("scaling_factor", 1.0),
    }


def decoder_arguments(section: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of LTX2VideoDiffusionDecoderModel.

    Raises:
        CheckpointError: the header describes a decoder that this class cannot be.
    """
    own = section.get("decoder", section)
    channels, upsamples = tuple(own.get("stage_channels", CHANNELS)), own.get("upsamples", UPSAMPLES)
    if own.get("stage5_channels", channels[-1]) != channels[-1] or len(upsamples) != len(channels) - 1:
        raise CheckpointError(
            f"the video VAE's diffusion decoder has {list(channels)} channels in its stages, "
            f"{own.get('stage5_channels')} in the last and {len(upsamples)} upsamplings; equal widths of context and "
            "last stage and one upsampling between two stages are wanted. Give the VAE with the convolutional decoder, "
            "ltx-2.5-video-vae-conv-bf16.safetensors."
        )
    return {
        "latent_channels": own.get("in_channels", section.get("latent_channels", 128)),
        "out_channels": own.get("out_channels", 3),
        "patch_size": own.get("patch_size", 4),
        "decoder_head_dim": own.get("head_dim", own.get("na_head_dim", 64)),
        "decoder_stage_channels": channels,
        "decoder_stage_depths": tuple(own.get("stage_depths", DEPTHS)),
        "decoder_stage_kernels": tuple(map(tuple, own.get("stage_kernels", KERNELS)[: len(upsamples)])),
        "decoder_upsample_strides": tuple(tuple(stride) for stride, _ in upsamples),
        "decoder_upsample_channel_reductions": tuple(reduction for _, reduction in upsamples),
        "decoder_stage5_kernel": tuple(own.get("stage5_kernel", LAST_KERNEL)),
        "decoder_t_emb_dim": own.get("t_emb_dim", 384),
        "decoder_timestep_scale_multiplier": own.get("timestep_scale_multiplier", 1.0),
        "decoder_model_output_type": section.get("model_output_type", "v"),
        "decoder_num_inference_steps": own.get("default_num_inference_steps", 2),
    }


def unfused(weights: Mapping[str, Weight]) -> dict[str, Weight]:
    """The decoder's weights as its module has them: three layers of each fused one, and gates as a part of what they
    multiply.

    Raises:
        CheckpointError: rows of a fused layer do not come in threes, or it is quantised.
    """
    gates = {name: weight for name, weight in weights.items() if name.endswith(tuple(GATED.values()))}
    found: dict[str, Weight] = {}
    for name, weight in weights.items():
        if name in gates:
            continue
        if FUSED in name:
            found |= _thirds(name, weight)
            continue
        end = next((end for end in GATED if name.endswith(end)), None)
        gate = gates.get(name.removesuffix(end) + GATED[end]) if end else None
        found[name] = replace(weight, gate=gate.values) if gate and isinstance(weight, PlainWeight) else weight
    return found


def _thirds(name: str, weight: Weight) -> dict[str, Weight]:
    stored = weight.values
    rows, entry = stored.shape[0] // 3, stored.entry
    size = (entry.end - entry.begin) // 3
    if not isinstance(weight, PlainWeight) or weight.scale is not None or rows * 3 != stored.shape[0]:
        raise CheckpointError(
            f"{stored.path} has {stored.name} as {stored.dtype} {list(stored.shape)}; rows of query, key and value, "
            "equally many and not quantised, are wanted. Give the file that Lightricks published."
        )
    begins = {part: entry.begin + place * size for place, part in enumerate(("to_q", "to_k", "to_v"))}
    return {
        name.replace(FUSED, f".attn.{part}."): PlainWeight(
            StoredTensor(
                stored.path,
                f"{stored.name} ({part})",
                entry._replace(shape=(rows, *stored.shape[1:]), begin=begin, end=begin + size),
            )
        )
        for part, begin in begins.items()
    }
