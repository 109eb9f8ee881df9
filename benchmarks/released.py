"""The released models' sizes, written as their headers write them, for measuring full-size modules with random weights.

A benchmark machine has no checkpoint. These dicts go through the same readers as a checkpoint's header, so that what is
built is what would be loaded.
"""

from typing import Any

from ltx_core.tiny import header
from ltx_core.tiny.header import TRANSFORMER_AS_RELEASED, Generation

GENERATIONS: tuple[Generation, ...] = ("2.0", "2.3")

TRANSFORMER_WIDTHS: dict[str, Any] = {
    "_class_name": "AVTransformer3DModel",
    "num_layers": 48,
    "in_channels": 128,
    "out_channels": 128,
    "num_attention_heads": 32,
    "attention_head_dim": 128,
    "cross_attention_dim": 4096,
    "audio_in_channels": 128,
    "audio_out_channels": 128,
    "audio_num_attention_heads": 32,
    "audio_attention_head_dim": 64,
    "audio_cross_attention_dim": 2048,
    "caption_channels": 3840,
    "use_embeddings_connector": True,
    "connector_num_learnable_registers": 128,
    "connector_positional_embedding_max_pos": [4096],
    "connector_norm_output": True,
}
CONNECTORS: dict[Generation, dict[str, Any]] = {
    "2.0": {
        "connector_num_layers": 2,
        "connector_num_attention_heads": 30,
        "connector_attention_head_dim": 128,
    },
    "2.3": {
        "connector_num_layers": 8,
        "connector_num_attention_heads": 32,
        "connector_attention_head_dim": 128,
        "audio_connector_num_attention_heads": 32,
        "audio_connector_attention_head_dim": 64,
    },
}
TRANSFORMER_SINCE_2_3: dict[str, Any] = {
    "apply_gated_attention": True,
    "caption_proj_before_connector": True,
    "caption_proj_input_norm": False,
    "caption_projection_first_linear": False,
    "caption_projection_second_linear": False,
    "connector_apply_gated_attention": True,
    "connector_learnable_registers_std": 1,
    "cross_attention_adaln": True,
    "text_encoder_norm_type": "per_token_rms",
}

GEMMA_3_12B: dict[str, Any] = {
    "model_type": "gemma3_text",
    "hidden_size": 3840,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "intermediate_size": 15360,
    "vocab_size": 262208,
    "max_position_embeddings": 131072,
    "sliding_window": 1024,
    "sliding_window_pattern": 6,
    "query_pre_attn_scalar": 256,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh",
}
"""Arguments of transformers' Gemma3TextConfig: the text encoder's language model."""


def config(generation: Generation) -> dict[str, Any]:
    """The header's config at full size."""
    return {
        "transformer": transformer_section(generation),
        "vae": video_vae_section(generation),
        "audio_vae": audio_vae_section(),
        "vocoder": vocoder_section(generation),
    }


def transformer_section(generation: Generation) -> dict[str, Any]:
    """The two-stream transformer (18.88 B parameters in 2.0, 18.99 B in 2.3) and the text connectors."""
    section = {**TRANSFORMER_WIDTHS, **CONNECTORS[generation], **TRANSFORMER_AS_RELEASED}
    return section | (TRANSFORMER_SINCE_2_3 if generation == "2.3" else {})


def video_vae_section(generation: Generation) -> dict[str, Any]:
    """The video VAE: 1.222 B parameters in 2.0, 726 M in 2.3."""
    third, widest = (6, 2) if generation == "2.0" else (4, 1)
    section: dict[str, Any] = {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 128,
        "encoder_base_channels": 128,
        "decoder_base_channels": 128,
        "encoder_blocks": [
            ["res_x", {"num_layers": 4}],
            ["compress_space_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 6}],
            ["compress_time_res", {"multiplier": 2}],
            ["res_x", {"num_layers": third}],
            ["compress_all_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 2}],
            ["compress_all_res", {"multiplier": widest}],
            ["res_x", {"num_layers": 2}],
        ],
        "decoder_blocks": _decoder_blocks(generation),
        "causal_decoder": False,
        "latent_log_var": "uniform",
        "norm_layer": "pixel_norm",
        "patch_size": 4,
        "scaling_factor": 1.0,
        "timestep_conditioning": False,
    }
    return section | ({"spatial_padding_mode": "zeros"} if generation == "2.3" else {})


def _decoder_blocks(generation: Generation) -> list[list[Any]]:
    """From the pixels' end to the latent's."""
    if generation == "2.0":
        up = ["compress_all", {"residual": True, "multiplier": 2}]
        res = ["res_x", {"num_layers": 5, "inject_noise": False}]
        return [res, up, res, up, res, up, res]
    return [
        ["res_x", {"num_layers": 4}],
        ["compress_space", {"multiplier": 2}],
        ["res_x", {"num_layers": 6}],
        ["compress_time", {"multiplier": 2}],
        ["res_x", {"num_layers": 4}],
        ["compress_all", {"multiplier": 1}],
        ["res_x", {"num_layers": 2}],
        ["compress_all", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}],
    ]


def audio_vae_section() -> dict[str, Any]:
    """The audio VAE, 53.2 M parameters in every generation."""
    section = header.audio_vae_section()
    section["model"]["params"]["ddconfig"] |= {"ch": 128, "z_channels": 8, "num_res_blocks": 2}
    return section


def vocoder_section(generation: Generation) -> dict[str, Any]:
    """The vocoder: 55.6 M parameters in 2.0; 128.5 M in 2.3, with the extension of its bandwidth."""
    section = header.vocoder_section(generation)
    if generation == "2.0":
        return section | {"upsample_initial_channel": 1024}
    widths = {"vocoder": 1536, "bwe": 512}
    return {name: section[name] | {"upsample_initial_channel": width} for name, width in widths.items()}
