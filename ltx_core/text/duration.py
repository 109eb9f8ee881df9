"""LTX-2.5's guess of how long a shot a caption describes, from the contexts that the connectors give."""

from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ltx2 import LTX2DurationHead
from torch import Tensor

from ltx_core.checkpoint.combined import header_config
from ltx_core.errors import CheckpointError
from ltx_core.files.safetensors import read_header
from ltx_core.files.tensors import read_tensors

PREFIX = "duration_head."
POOLER = "attention_pooler."
FUSED = POOLER + "cross_attn."
"""Lightricks' pooler is torch's MultiheadAttention: query, key and value are one matrix [3 D, D], in this order."""


def load_duration_head(path: Path, *, device: str, dtype: torch.dtype) -> LTX2DurationHead:
    """The head of a combined file or of LTX-2.5's file for it, frozen and in eval mode.

    Raises:
        CheckpointError: the file has no duration head, or not all of it.
    """
    header = read_header(path)
    config = (header_config(header) or {}).get("duration_head")
    if config is None or not any(name.startswith(PREFIX) for name in header.tensors):
        raise CheckpointError(f"{path} has no duration head; LTX-2.5's combined file or its duration head is wanted")
    read, _ = read_tensors(path)
    tensors = _renamed({name: tensor for name, tensor in read.items() if name.startswith(PREFIX)})
    head = LTX2DurationHead(**_arguments(path, config, tensors))
    wanted = {name: tensor.shape for name, tensor in head.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if odd := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        raise CheckpointError(f"the duration head of {path} is not whole: {odd[:4]} are missing, unknown or misshapen")
    head.load_state_dict(tensors)
    return head.to(device, dtype).eval().requires_grad_(False)


@torch.no_grad()
def predicted_seconds(head: LTX2DurationHead, video: Tensor | None, audio: Tensor | None) -> Tensor:
    """Seconds [B] from the contexts [B, S, D] of one stream or both.

    Raises:
        ValueError: neither is given.
    """
    seconds: Tensor = head(video, audio)
    return seconds


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under diffusers' names, the fused matrix in three."""
    found: dict[str, Tensor] = {}
    for original, tensor in tensors.items():
        name = original.removeprefix(PREFIX)
        kind = name.rpartition("_")[2]
        if name.startswith(f"{FUSED}in_proj_"):
            for part, piece in zip(("to_q", "to_k", "to_v"), tensor.chunk(3), strict=True):
                found[f"{POOLER}{part}.{kind}"] = piece.contiguous()
        else:
            found[name.replace(f"{FUSED}out_proj.", f"{POOLER}to_out.")] = tensor
    return found


def _arguments(path: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, int]:
    """Widths of the contexts from the weights, the rest from the header."""
    try:
        return {
            "video_cross_attention_dim": tensors["video_input_proj.weight"].shape[1],
            "audio_cross_attention_dim": tensors["audio_input_proj.weight"].shape[1],
            "pooler_hidden_dim": int(config["pooler_hidden_dim"]),
            "num_queries": int(config["num_queries"]),
            "num_pooler_heads": int(config["num_pooler_heads"]),
            "mlp_hidden_dim": int(config["mlp_hidden"]),
        }
    except KeyError as error:
        raise CheckpointError(f"the duration head of {path} has no {error}") from error
