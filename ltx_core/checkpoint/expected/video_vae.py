"""The video VAE: diffusers' class, as the parts that a clip passes in turn. Its memory is planned by them too."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ltx_core.checkpoint.diffusion_vae import DECODER
from ltx_core.checkpoint.expected.diffusion_decoder import diffusion_decoder
from ltx_core.checkpoint.expected.tree import Tree, affine, convolution, known
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
        CheckpointError: a change of resolution that is not known here, or a decoder that is told a timestep.
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
