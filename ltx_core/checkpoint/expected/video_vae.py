"""The video VAE: diffusers' class, as the parts that a clip passes in turn, by which its memory is planned too; and
LTX-2.5's diffusion decoder, a class of its own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ltx_core.checkpoint.diffusion_vae import DECODER
from ltx_core.checkpoint.expected.tree import Tree, affine, convolution, known, linear, numbered, scale
from ltx_core.errors import CheckpointError

STRIDES = {"spatial": (1, 2, 2), "temporal": (2, 1, 1), "spatiotemporal": (2, 2, 2)}
"""Factors by which a change of resolution divides or multiplies frames, height and width."""
WHOLE_STRIDE = (1, 1, 1)
KERNEL = 3
"""Of every causal convolution, in time and in space."""


@dataclass(frozen=True)
class Part:
    """One residual block, one change of resolution, or the first or last convolution of a network."""

    name: str
    """Of the module in its block, or in the network."""
    kind: Literal["plain", "residual", "down", "up"]
    inputs: int
    """Channels that it takes."""
    outputs: int
    """Channels that its last convolution makes; those of an upsampling are then unfolded into neighbours."""
    stride: tuple[int, int, int] = WHOLE_STRIDE
    adds_input: bool = False
    """An upsampling with its own input beside; residual blocks and downsamplings always have theirs."""
    noisy: bool = False
    """A residual block with noise of learned strength."""

    def tree(self) -> Tree:
        """Its tensors."""
        if self.kind != "residual":
            return {"conv" if self.kind == "plain" else "conv.conv": _convolution(self.inputs, self.outputs)}
        changed: Tree = {
            "norm3": affine(self.inputs),
            "conv_shortcut": convolution(self.inputs, self.outputs, 1, 1, 1),
        }
        strengths = dict.fromkeys(("per_channel_scale1", "per_channel_scale2"), (self.inputs, 1, 1))
        return {
            "conv1.conv": _convolution(self.inputs, self.outputs),
            "conv2.conv": _convolution(self.outputs, self.outputs),
            **(changed if self.inputs != self.outputs else {}),
            **(strengths if self.noisy else {}),
        }


class Block(NamedTuple):
    """Parts that diffusers calls as one module."""

    name: str
    inputs: int
    """Channels that it takes."""
    parts: tuple[Part, ...]
    """In order of execution."""


@dataclass(frozen=True)
class Network:
    """The encoder or the decoder: a convolution, blocks, a convolution."""

    first: Part
    blocks: tuple[Block, ...]
    last: Part
    patch: int
    """Edge of the squares of pixels that are channels outside."""
    causal: bool
    """No frame sees a later one."""
    padding: str
    """Of space, by torch's name."""

    def tree(self) -> Tree:
        """Its tensors."""
        blocks = {block.name: {part.name: part.tree() for part in block.parts} for block in self.blocks}
        return {part.name: part.tree() for part in (self.first, self.last)} | blocks


@dataclass(frozen=True)
class EncoderSizes:
    """The arguments that decide the encoder of AutoencoderKLLTX2Video; named and defaulted as its arguments."""

    in_channels: int = 3
    latent_channels: int = 128
    block_out_channels: Sequence[int] = (256, 512, 1024, 2048)
    layers_per_block: Sequence[int] = (4, 6, 6, 2, 2)
    spatio_temporal_scaling: bool | Sequence[bool] = (True, True, True, True)
    downsample_type: Sequence[str] = ("spatial", "temporal", "spatiotemporal", "spatiotemporal")
    patch_size: int = 4
    encoder_causal: bool = True
    encoder_spatial_padding_mode: str = "zeros"


def encoder(arguments: Mapping[str, Any]) -> Network:
    """The encoder of AutoencoderKLLTX2Video.

    Raises:
        CheckpointError: a change of resolution that is not known here.
    """
    sizes = known(EncoderSizes, arguments)
    first = Part("conv_in", "plain", sizes.in_channels * sizes.patch_size**2, sizes.latent_channels)
    width, scaling, blocks = (
        sizes.latent_channels,
        _each(sizes.spatio_temporal_scaling, len(sizes.block_out_channels)),
        [],
    )
    for place, outputs in enumerate(sizes.block_out_channels):
        parts = _residual(width, sizes.layers_per_block[place])
        if scaling[place]:
            stride = _stride(sizes.downsample_type[place])
            parts.append(Part("downsamplers.0", "down", width, outputs // math.prod(stride), stride))
        blocks.append(Block(f"down_blocks.{place}", width, tuple(parts)))
        width = outputs
    blocks.append(Block("mid_block", width, tuple(_residual(width, sizes.layers_per_block[-1]))))
    last = Part("conv_out", "plain", width, sizes.latent_channels + 1)
    return Network(
        first, tuple(blocks), last, sizes.patch_size, sizes.encoder_causal, sizes.encoder_spatial_padding_mode
    )


@dataclass(frozen=True)
class DecoderSizes:
    """The arguments that decide its decoder. All that is listed by block but the upsampling's kind runs from the
    pixels' end to the latent's."""

    out_channels: int = 3
    latent_channels: int = 128
    decoder_block_out_channels: Sequence[int] = (256, 512, 1024)
    decoder_layers_per_block: Sequence[int] = (5, 5, 5, 5)
    decoder_spatio_temporal_scaling: bool | Sequence[bool] = (True, True, True)
    decoder_inject_noise: bool | Sequence[bool] = (False, False, False, False)
    upsample_type: Sequence[str] = ("spatiotemporal", "spatiotemporal", "spatiotemporal")
    upsample_residual: bool | Sequence[bool] = (True, True, True)
    upsample_factor: Sequence[int] = (2, 2, 2)
    timestep_conditioning: bool = False
    patch_size: int = 4
    decoder_causal: bool = False
    decoder_spatial_padding_mode: str = "reflect"


def decoder(arguments: Mapping[str, Any]) -> Network:
    """The decoder of AutoencoderKLLTX2Video. All that is listed by block but the upsampling's kind runs from the
    pixels' end to the latent's.

    Raises:
        CheckpointError: a change of resolution that is not known here, or a decoder that takes a timestep.
    """
    sizes = known(DecoderSizes, arguments)
    if sizes.timestep_conditioning:
        raise CheckpointError(
            "the video VAE's decoder takes a timestep, which no LTX-2 decoder is and nothing here does; give a "
            "checkpoint as Lightricks published it"
        )
    widths, layers = list(sizes.decoder_block_out_channels)[::-1], list(sizes.decoder_layers_per_block)[::-1]
    count = len(widths)
    noise = _each(sizes.decoder_inject_noise, count + 1)[::-1]
    scaling = _each(sizes.decoder_spatio_temporal_scaling, count)[::-1]
    residual, factors = _each(sizes.upsample_residual, count)[::-1], list(sizes.upsample_factor)[::-1]
    width = widths[0]
    first = Part("conv_in", "plain", sizes.latent_channels, width)
    blocks = [Block("mid_block", width, tuple(_residual(width, layers[0], noisy=noise[0])))]
    for place in range(count):
        factor, noisy = factors[place], noise[place + 1]
        inputs, width = width // factor, widths[place] // factor
        narrowed = [Part("conv_in", "residual", inputs, width, noisy=noisy)] if inputs != width else []
        parts = list(narrowed)
        if scaling[place]:
            stride = _stride(sizes.upsample_type[place])
            made = width * math.prod(stride)
            parts.append(Part("upsamplers.0", "up", width * factor, made, stride, adds_input=residual[place]))
        parts += _residual(width, layers[place + 1], noisy=noisy)
        blocks.append(Block(f"up_blocks.{place}", inputs if narrowed else width * factor, tuple(parts)))
    last = Part("conv_out", "plain", width, sizes.out_channels * sizes.patch_size**2)
    return Network(
        first, tuple(blocks), last, sizes.patch_size, sizes.decoder_causal, sizes.decoder_spatial_padding_mode
    )


def video_vae(arguments: Mapping[str, Any]) -> Tree:
    """AutoencoderKLLTX2Video, its decoder replaced where there is a `diffusion_decoder`.

    Raises:
        CheckpointError: as for `encoder` and `decoder`.
    """
    statistics = (known(EncoderSizes, arguments).latent_channels,)
    diffuses = arguments.get(DECODER)
    return {
        "encoder": encoder(arguments).tree(),
        "decoder": decoder(arguments).tree() if diffuses is None else diffusion_decoder(diffuses),
        "latents_mean": statistics,
        "latents_std": statistics,
    }


def _residual(width: int, count: int, *, noisy: bool = False) -> list[Part]:
    return [Part(f"resnets.{place}", "residual", width, width, noisy=noisy) for place in range(count)]


def _convolution(inputs: int, outputs: int) -> Tree:
    return convolution(inputs, outputs, KERNEL, KERNEL, KERNEL)


def _each(value: bool | Sequence[bool], count: int) -> list[bool]:
    return [value] * count if isinstance(value, bool) else list(value)


def _stride(kind: str) -> tuple[int, int, int]:
    if kind not in STRIDES:
        raise CheckpointError(
            f"the video VAE changes resolution by {kind!r}; {', '.join(STRIDES)} are known. Give a checkpoint as "
            "Lightricks published it."
        )
    return STRIDES[kind]


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
