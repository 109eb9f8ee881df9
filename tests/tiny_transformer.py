"""A tiny transformer of the real class, with the parts that a generation of LTX-2 has."""

from copy import deepcopy
from functools import cache
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2TextConnectors

from ltx_core.tiny.header import Generation


def arguments(
    generation: Generation,
    *,
    channels: int,
    audio_channels: int,
    width: int,
    audio_width: int,
    captions: int | None = None,
    num_layers: int = 2,
) -> dict[str, Any]:
    """Of the constructor. Channels are of a latent, widths of a block's streams; `captions` is the width of a feature,
    which is the video's where there is none."""
    later = generation != "2.0"
    return {
        "in_channels": channels,
        "out_channels": channels,
        "num_attention_heads": 2,
        "attention_head_dim": width // 2,
        "cross_attention_dim": width,
        "audio_in_channels": audio_channels,
        "audio_out_channels": audio_channels,
        "audio_num_attention_heads": 2,
        "audio_attention_head_dim": audio_width // 2,
        "audio_cross_attention_dim": audio_width,
        "num_layers": num_layers,
        "caption_channels": width if captions is None else captions,
        "rope_type": "split",
        "perturbed_attn": True,
        "gated_attn": later,
        "audio_gated_attn": later,
        "cross_attn_mod": later,
        "audio_cross_attn_mod": later,
        "use_prompt_embeddings": not later,
        "ff_bias": generation != "2.5",
        "use_keyframes_abs_pos_embedding": generation == "2.5",
    }


def build(generation: Generation, **sizes: Any) -> LTX2VideoTransformer3DModel:
    """Frozen, in eval mode, in float32, and the same at every call; `sizes` as `arguments` takes them."""
    return deepcopy(_built(generation, **sizes))


@cache
def _built(generation: Generation, **sizes: Any) -> LTX2VideoTransformer3DModel:
    """A copy takes a tenth of the time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = LTX2VideoTransformer3DModel(**arguments(generation, **sizes))
        if generation == "2.5":  # zeros at first, so that whether they are added would not show
            torch.nn.init.normal_(transformer.keyframes_abs_pos_embedding, std=0.5)
    return transformer.eval().requires_grad_(False)


def build_connectors(width: int, audio_width: int, registers: int) -> LTX2TextConnectors:
    """Those of LTX-2.3 and later, frozen, in eval mode, and the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        connectors = LTX2TextConnectors(
            caption_channels=width,
            text_proj_in_factor=2,
            video_connector_num_attention_heads=2,
            video_connector_attention_head_dim=width // 2,
            video_connector_num_layers=1,
            video_connector_num_learnable_registers=registers,
            video_gated_attn=True,
            audio_connector_num_attention_heads=2,
            audio_connector_attention_head_dim=audio_width // 2,
            audio_connector_num_layers=1,
            audio_connector_num_learnable_registers=registers,
            audio_gated_attn=True,
            rope_type="split",
            per_modality_projections=True,
            video_hidden_dim=width,
            audio_hidden_dim=audio_width,
            proj_bias=True,
        )
    return connectors.eval().requires_grad_(False)
