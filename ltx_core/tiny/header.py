"""Header of the miniature checkpoint: the same keys as a released file's header, at toy widths.

Loaders derive constructor arguments from this header, so the sizes here are the sizes of the tensors.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

Generation = Literal["2.0", "2.3", "2.5"]

LAYERS = 2
HEADS = 2
"""Of the video and of the audio stream: they must agree, because the streams attend to each other."""
VIDEO_HEAD_WIDTH = 32
AUDIO_HEAD_WIDTH = 16
VIDEO_WIDTH = HEADS * VIDEO_HEAD_WIDTH
AUDIO_WIDTH = HEADS * AUDIO_HEAD_WIDTH
TEXT_WIDTH = 32
"""Width of Gemma's hidden states, and in 2.0 of the connectors."""
TEXT_LAYERS = 4
"""Gemma's layers; with the embedding it has one hidden state more."""
CONNECTOR_LAYERS = 2
REGISTERS = 128
"""As released, where the number is fixed: text lengths are multiples of it."""
VIDEO_CHANNELS = 8
"""Of the video latent, and of the encoder's first layer, which diffusers ties to it."""
DECODER_BASE = 8
AUDIO_CHANNELS = 2
MEL_BINS = 64
MEL_STRIDE = 4
AUDIO_TOKEN_WIDTH = AUDIO_CHANNELS * MEL_BINS // MEL_STRIDE
"""Also the base width of the audio VAE: its statistics, one for each value of a token, are stored by base channel."""
VOCODER_WIDTH = 64
BANDWIDTH_EXTENSION_WIDTH = 32
RESBLOCK_KERNELS = [3, 7, 11]
RESBLOCK_DILATIONS = [[1, 3, 5]] * 3

LICENSE = "Random weights for tests. Holds no trained weights."
MODEL_VERSIONS: dict[Generation, str] = {"2.0": "2.0.0", "2.3": "2.3.0", "2.5": "2.5.0"}
GEMMA_VERSION = "gemma4-12b-ltx-v1"
"""Of LTX-2.5's text encoder: named by the transformer and by the encoder itself, which must agree."""


def metadata(generation: Generation, *sections: str) -> dict[str, str]:
    """The strings of the safetensors header, with all sections of the config or those of a pack's file."""
    described = {name: section for name, section in config(generation).items() if not sections or name in sections}
    return metadata_of(described, generation)


def metadata_of(described: Mapping[str, Any], generation: Generation) -> dict[str, str]:
    """The strings of the safetensors header for these sections."""
    source = {"ltx_version": MODEL_VERSIONS["2.5"], "gemma_version": GEMMA_VERSION}
    return {
        "config": json.dumps(described),
        "license": LICENSE,
        "model_version": MODEL_VERSIONS[generation],
        **({"gemma_source_checkpoint": json.dumps(source)} if generation == "2.5" else {}),
    }


def config(generation: Generation) -> dict[str, Any]:
    """The header's config, section by section."""
    return {
        "transformer": transformer_section(generation),
        "vae": video_vae_section(generation),
        "audio_vae": audio_vae_section(),
        "vocoder": vocoder_section(generation),
        "scheduler": {
            "_class_name": "RectifiedFlowScheduler",
            "_diffusers_version": "0.25.1",
            "num_train_timesteps": 1000,
            "shifting": None,
            "base_resolution": None,
            "sampler": "LinearQuadratic",
        },
    }


def transformer_section(generation: Generation) -> dict[str, Any]:
    """The two-stream transformer and the text connectors."""
    connector_head = TEXT_WIDTH // HEADS if generation == "2.0" else VIDEO_HEAD_WIDTH
    section = {
        "_class_name": "AVTransformer3DModel",
        "num_layers": LAYERS,
        "in_channels": VIDEO_CHANNELS,
        "out_channels": VIDEO_CHANNELS,
        "num_attention_heads": HEADS,
        "attention_head_dim": VIDEO_HEAD_WIDTH,
        "cross_attention_dim": VIDEO_WIDTH,
        "audio_in_channels": AUDIO_TOKEN_WIDTH,
        "audio_out_channels": AUDIO_TOKEN_WIDTH,
        "audio_num_attention_heads": HEADS,
        "audio_attention_head_dim": AUDIO_HEAD_WIDTH,
        "audio_cross_attention_dim": AUDIO_WIDTH,
        "caption_channels": TEXT_WIDTH,
        "use_embeddings_connector": True,
        "connector_num_layers": CONNECTOR_LAYERS,
        "connector_num_attention_heads": HEADS,
        "connector_attention_head_dim": connector_head,
        "connector_num_learnable_registers": REGISTERS,
        "connector_positional_embedding_max_pos": [4096],
        "connector_norm_output": True,
        **TRANSFORMER_AS_RELEASED,
    }
    since_2_3 = {} if generation == "2.0" else TRANSFORMER_SINCE_2_3
    return section | since_2_3 | (TRANSFORMER_SINCE_2_5 if generation == "2.5" else {})


TRANSFORMER_AS_RELEASED: dict[str, Any] = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_type": "default",
    "audio_positional_embedding_max_pos": [20],
    "av_ca_timestep_scale_multiplier": 1000.0,
    "av_cross_ada_norm": True,
    "causal_temporal_positioning": True,
    "cross_attention_norm": True,
    "double_self_attention": False,
    "dropout": 0.0,
    "frequencies_precision": "float64",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-6,
    "norm_num_groups": 32,
    "num_embeds_ada_norm": 1000,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "positional_embedding_max_pos": [20, 2048, 2048],
    "positional_embedding_theta": 10000.0,
    "positional_embedding_type": "rope",
    "qk_norm": "rms_norm",
    "rope_type": "split",
    "share_ff": False,
    "standardization_norm": "rms_norm",
    "timestep_scale_multiplier": 1000,
    "upcast_attention": False,
    "use_audio_video_cross_attention": True,
    "use_linear_projection": False,
    "use_middle_indices_grid": True,
}
"""Settings without a width, in every generation."""

TRANSFORMER_SINCE_2_3: dict[str, Any] = {
    "apply_gated_attention": True,
    "audio_connector_attention_head_dim": AUDIO_HEAD_WIDTH,
    "audio_connector_num_attention_heads": HEADS,
    "caption_proj_before_connector": True,
    "caption_proj_input_norm": False,
    "caption_projection_first_linear": False,
    "caption_projection_second_linear": False,
    "connector_apply_gated_attention": True,
    "connector_learnable_registers_std": 1,
    "cross_attention_adaln": True,
    "text_encoder_norm_type": "per_token_rms",
}

TRANSFORMER_SINCE_2_5: dict[str, Any] = {
    "ff_bias": False,
    "text_encoder_norm_type": "PER_TOKEN_RMS",
    "use_keyframes_abs_pos_embedding": True,
}


def video_vae_section(generation: Generation) -> dict[str, Any]:
    """The video VAE: 4x4 patches, then halved in space three times and in time three times."""
    widest = 2 if generation == "2.0" else 1
    section = {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": VIDEO_CHANNELS,
        "encoder_base_channels": VIDEO_CHANNELS,
        "decoder_base_channels": DECODER_BASE,
        "encoder_blocks": [
            ["res_x", {"num_layers": 2}],
            ["compress_space_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 1}],
            ["compress_time_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 1}],
            ["compress_all_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 1}],
            ["compress_all_res", {"multiplier": widest}],
            ["res_x", {"num_layers": 1}],
        ],
        "decoder_blocks": decoder_blocks(generation),
        "causal_decoder": False,
        "latent_log_var": "uniform",
        "norm_layer": "pixel_norm",
        "normalize_latent_channels": False,
        "patch_size": 4,
        "scaling_factor": 1.0,
        "timestep_conditioning": False,
        "use_quant_conv": False,
    }
    return section | ({} if generation == "2.0" else {"spatial_padding_mode": "zeros"})


def decoder_blocks(generation: Generation) -> list[list[Any]]:
    """The decoder's blocks from the pixels' end to the latent's, as released files list them."""
    if generation == "2.0":
        up = ["compress_all", {"residual": True, "multiplier": 2}]
        res = [["res_x", {"num_layers": n, "inject_noise": False}] for n in (1, 2, 1, 1)]
        return [res[0], up, res[1], up, res[2], up, res[3]]
    return [
        ["res_x", {"num_layers": 1}],
        ["compress_space", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}],
        ["compress_time", {"multiplier": 2}],
        ["res_x", {"num_layers": 1}],
        ["compress_all", {"multiplier": 1}],
        ["res_x", {"num_layers": 1}],
        ["compress_all", {"multiplier": 2}],
        ["res_x", {"num_layers": 1}],
    ]


def audio_vae_section() -> dict[str, Any]:
    """The audio VAE and the log-mel spectrogram it takes."""
    return {
        "model": {
            "params": {
                "ddconfig": {
                    "ch": AUDIO_TOKEN_WIDTH,
                    "ch_mult": [1, 2, 4],
                    "z_channels": AUDIO_CHANNELS,
                    "in_channels": 2,
                    "out_ch": 2,
                    "num_res_blocks": 1,
                    "attn_resolutions": [],
                    "causality_axis": "height",
                    "double_z": True,
                    "downsample_time": False,
                    "dropout": 0.0,
                    "mel_bins": MEL_BINS,
                    "mid_block_add_attention": False,
                    "norm_type": "pixel",
                    "resolution": 256,
                },
                "sampling_rate": 16000,
            }
        },
        "preprocessing": {
            "audio": {
                "sampling_rate": 16000,
                "max_wav_value": 32768.0,
                "duration": 5.12,
                "stereo": True,
                "causal_padding": 3,
            },
            "stft": {"filter_length": 1024, "hop_length": 160, "win_length": 1024, "causal": True},
            "mel": {"n_mel_channels": MEL_BINS, "mel_fmin": 0, "mel_fmax": 8000},
        },
    }


def vocoder_section(generation: Generation) -> dict[str, Any]:
    """2.0: log-mel to 24 kHz. Since 2.3: to 16 kHz, then extended in bandwidth to 48 kHz."""
    blocks = {"resblock_kernel_sizes": RESBLOCK_KERNELS, "resblock_dilation_sizes": RESBLOCK_DILATIONS, "stereo": True}
    if generation == "2.0":
        return blocks | {
            "resblock": "1",
            "upsample_initial_channel": VOCODER_WIDTH,
            "upsample_rates": [6, 5, 2, 2, 2],
            "upsample_kernel_sizes": [16, 15, 8, 4, 4],
        }
    snake = {"resblock": "AMP1", "activation": "snakebeta", "use_tanh_at_final": False, "use_bias_at_final": False}
    return {
        "vocoder": blocks
        | snake
        | {
            "upsample_initial_channel": VOCODER_WIDTH,
            "upsample_rates": [5, 2, 2, 2, 2, 2],
            "upsample_kernel_sizes": [11, 4, 4, 4, 4, 4],
        },
        "bwe": blocks
        | snake
        | {
            "upsample_initial_channel": BANDWIDTH_EXTENSION_WIDTH,
            "upsample_rates": [6, 5, 2, 2, 2],
            "upsample_kernel_sizes": [12, 11, 4, 4, 4],
            "apply_final_activation": False,
            "input_sampling_rate": 16000,
            "output_sampling_rate": 48000,
            "hop_length": 80,
            "n_fft": 256,
            "win_size": 256,
            "num_mels": MEL_BINS,
        },
    }
