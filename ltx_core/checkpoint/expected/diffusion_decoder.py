"""LTX-2.5's diffusion decoder of videos: diffusers' class."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltx_core.checkpoint.expected.tree import Tree, known, linear, numbered, scale

FEATURES = 256
"""Sines and cosines that a timestep is embedded by."""
MODULATIONS = 7
"""Vectors that a timestep gives a block."""
WIDER, MULTIPLE = 4, 16
"""The feed-forward is so many times as wide, rounded up to a multiple."""


@dataclass(frozen=True)
class DiffusionDecoderSizes:
    """The arguments that decide its tensors; named as its arguments."""

    latent_channels: int
    out_channels: int
    patch_size: int
    decoder_head_dim: int
    decoder_stage_channels: Sequence[int]
    decoder_stage_depths: Sequence[int]
    decoder_upsample_strides: Sequence[Sequence[int]]
    decoder_upsample_channel_reductions: Sequence[int]
    decoder_t_emb_dim: int

    @property
    def pixel_values(self) -> int:
        """Of a square of pixels that is one token."""
        return self.out_channels * self.patch_size**2


def diffusion_decoder(arguments: Mapping[str, Any]) -> Tree:
    """LTX2VideoDiffusionDecoderModel, without the statistics that the VAE around it has."""
    sizes = known(DiffusionDecoderSizes, arguments)
    widths, depths, head = sizes.decoder_stage_channels, sizes.decoder_stage_depths, sizes.decoder_head_dim
    last, embedding = widths[-1], sizes.decoder_t_emb_dim
    steps = zip(widths, sizes.decoder_upsample_strides, sizes.decoder_upsample_channel_reductions, strict=False)
    diffusing: Tree = {
        **_block(last, head),
        "context_proj": linear(last, last),
        "scale_shift_table": (MODULATIONS, last),
    }
    return {
        "decoder": {
            "conv_in": linear(sizes.latent_channels, widths[0]),
            "det_stages": numbered(
                *(numbered(*[_block(width, head)] * depth) for width, depth in zip(widths[:-1], depths, strict=False))
            ),
            "upsamples": numbered(
                *({"proj": linear(width, math.prod(stride) * width // cut)} for width, stride, cut in steps)
            ),
            "t_embedder.timestep_embedder": {
                "linear_1": linear(FEATURES, embedding),
                "linear_2": linear(embedding, embedding),
            },
            "shared_adaln.proj": linear(embedding, MODULATIONS * last),
            "conv_in_x_t": linear(sizes.pixel_values, last),
            "diff_blocks": numbered(*[diffusing] * depths[-1]),
            "norm_out": scale(last),
            "conv_out": linear(last, sizes.pixel_values),
        }
    }


def _block(width: int, head: int) -> Tree:
    hidden = -(-WIDER * width // MULTIPLE) * MULTIPLE
    return {
        "norm1": scale(width),
        "norm2": scale(width),
        "attn": {
            **{name: linear(width, width) for name in ("to_q", "to_k", "to_v", "to_out.0")},
            "norm_q": scale(head),
            "norm_k": scale(head),
        },
        "mlp": {
            "w_up": linear(width, hidden, bias=False),
            "w_gate": linear(width, hidden, bias=False),
            "w_down": linear(hidden, width, bias=False),
        },
    }
