"""The audio VAE and the vocoder: diffusers' classes for LTX-2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltx_core.checkpoint.expected.tree import Tree, affine, convolution, known, numbered
from ltx_core.errors import CheckpointError

SNAKES = ("snake", "snakebeta")
"""Activations with learned values; they are always antialiased at the end of a vocoder."""


@dataclass(frozen=True)
class AudioVaeSizes:
    """The arguments that decide the shapes of AutoencoderKLLTX2Audio; named and defaulted as its arguments."""

    base_channels: int = 128
    output_channels: int = 2
    ch_mult: Sequence[int] = (1, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: Sequence[int] | None = None
    in_channels: int = 2
    resolution: int = 256
    latent_channels: int = 8
    norm_type: str = "pixel"
    mid_block_add_attention: bool = False
    double_z: bool = True


def audio_vae(arguments: Mapping[str, Any]) -> Tree:
    """AutoencoderKLLTX2Audio."""
    sizes = known(AudioVaeSizes, arguments)
    widths = [sizes.base_channels * multiple for multiple in sizes.ch_mult]
    layers = _AudioLayers(sizes.norm_type, frozenset(sizes.attn_resolutions or ()), sizes.mid_block_add_attention)
    resolutions = [sizes.resolution // 2**level for level in range(len(widths))]
    encoder: dict[str, Tree] = {
        "conv_in.conv": convolution(sizes.in_channels, sizes.base_channels, 3, 3),
        "mid": layers.middle(widths[-1]),
        "norm_out": layers.norm(widths[-1]),
        "conv_out.conv": convolution(widths[-1], sizes.latent_channels * (2 if sizes.double_z else 1), 3, 3),
    }
    decoder: dict[str, Tree] = {
        "conv_in.conv": convolution(sizes.latent_channels, widths[-1], 3, 3),
        "mid": layers.middle(widths[-1]),
        "norm_out": layers.norm(widths[0]),
        "conv_out.conv": convolution(widths[0], sizes.output_channels, 3, 3),
    }
    inputs = sizes.base_channels
    for level, (width, edge) in enumerate(zip(widths, resolutions, strict=True)):
        halved = {} if level == len(widths) - 1 else {"downsample.conv": convolution(width, width, 3, 3)}
        encoder[f"down.{level}"] = layers.level(inputs, width, sizes.num_res_blocks, edge) | halved
        inputs = width
    for level, (width, edge) in reversed(list(enumerate(zip(widths, resolutions, strict=True)))):
        doubled = {"upsample.conv.conv": convolution(width, width, 3, 3)} if level else {}
        decoder[f"up.{level}"] = layers.level(inputs, width, sizes.num_res_blocks + 1, edge) | doubled
        inputs = width
    return {
        "encoder": encoder,
        "decoder": decoder,
        "latents_mean": (sizes.base_channels,),
        "latents_std": (sizes.base_channels,),
    }


class _AudioLayers:
    """Layers of the audio VAE, which are alike in encoder and decoder."""

    def __init__(self, norm_type: str, attending: frozenset[int], attends_in_the_middle: bool) -> None:
        self._norm_type, self._attending, self._attends_in_the_middle = norm_type, attending, attends_in_the_middle

    def level(self, inputs: int, width: int, blocks: int, edge: int) -> dict[str, Tree]:
        """Residual blocks of one resolution, each with attention where that resolution has it."""
        found = {"block": numbered(*(self.block(width if place else inputs, width) for place in range(blocks)))}
        return found | ({"attn": numbered(*[self.attention(width)] * blocks)} if edge in self._attending else {})

    def middle(self, width: int) -> Tree:
        """Two residual blocks, with attention between them or not."""
        between = {"attn_1": self.attention(width)} if self._attends_in_the_middle else {}
        return {"block_1": self.block(width, width), "block_2": self.block(width, width), **between}

    def block(self, inputs: int, outputs: int) -> Tree:
        """A residual block; a change of width has a convolution beside."""
        beside = {} if inputs == outputs else {"nin_shortcut.conv": convolution(inputs, outputs, 1, 1)}
        return {
            "norm1": self.norm(inputs),
            "conv1.conv": convolution(inputs, outputs, 3, 3),
            "norm2": self.norm(outputs),
            "conv2.conv": convolution(outputs, outputs, 3, 3),
            **beside,
        }

    def attention(self, width: int) -> Tree:
        """Attention among places."""
        return {"norm": self.norm(width), **dict.fromkeys(("q", "k", "v", "proj_out"), convolution(width, width, 1, 1))}

    def norm(self, width: int) -> Tree:
        """Norms of single places hold nothing."""
        return affine(width) if self._norm_type == "group" else {}


@dataclass(frozen=True)
class VocoderSizes:
    """The arguments that decide the shapes of LTX2Vocoder; named and defaulted as its arguments."""

    in_channels: int = 128
    hidden_channels: int = 1024
    out_channels: int = 2
    upsample_kernel_sizes: Sequence[int] = (16, 15, 8, 4, 4)
    resnet_kernel_sizes: Sequence[int] = (3, 7, 11)
    resnet_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    act_fn: str = "leaky_relu"
    antialias: bool = False
    antialias_kernel_size: int = 12
    final_bias: bool = True


def vocoder(arguments: Mapping[str, Any]) -> Tree:
    """LTX2Vocoder. Each upsampling halves the width; residual blocks of all kernel sizes follow it.

    Raises:
        CheckpointError: an antialiased activation without learned values, which no model has.
    """
    sizes = known(VocoderSizes, arguments)
    if sizes.antialias and sizes.act_fn not in SNAKES:
        raise CheckpointError(
            f"the vocoder antialiases {sizes.act_fn!r}; {' or '.join(SNAKES)} is wanted with it. Give a checkpoint as "
            "Lightricks published it."
        )
    widths = [sizes.hidden_channels // 2**place for place in range(len(sizes.upsample_kernel_sizes) + 1)]
    filters = sizes.antialias_kernel_size if sizes.antialias else 0
    blocks = [
        _vocoder_block(width, kernel, len(dilations), sizes.act_fn, filters)
        for width in widths[1:]
        for kernel, dilations in zip(sizes.resnet_kernel_sizes, sizes.resnet_dilations, strict=True)
    ]
    end = {"act_out": _snake(widths[-1], "snakebeta", sizes.antialias_kernel_size)} if sizes.act_fn in SNAKES else {}
    return {
        "conv_in": convolution(sizes.in_channels, sizes.hidden_channels, 7),
        "upsamplers": numbered(
            *(
                {"weight": (wide, narrow, kernel), "bias": (narrow,)}  # transposed: inputs come first
                for wide, narrow, kernel in zip(widths, widths[1:], sizes.upsample_kernel_sizes, strict=False)
            )
        ),
        "resnets": numbered(*blocks),
        **end,
        "conv_out": convolution(widths[-1], sizes.out_channels, 7, bias=sizes.final_bias),
    }


def _vocoder_block(width: int, kernel: int, layers: int, activation: str, filters: int) -> Tree:
    convolutions = numbered(*[convolution(width, width, kernel)] * layers)
    snakes = numbered(*[_snake(width, activation, filters)] * layers) if activation in SNAKES else {}
    return {"convs1": convolutions, "convs2": convolutions, "acts1": snakes, "acts2": snakes}


def _snake(width: int, activation: str, filters: int) -> Tree:
    """A periodic activation, between two filters of that length if it is antialiased."""
    values: Tree = {"alpha": (width,)} | ({"beta": (width,)} if activation == "snakebeta" else {})
    if not filters:
        return values
    return {"act": values, "upsample.filter": (1, 1, filters), "downsample.filter": (1, 1, filters)}


@dataclass(frozen=True)
class SpectrumSizes:
    """The arguments that decide the shapes of MelSTFT, of which LTX2VocoderWithBWE has one; named and
    defaulted as its arguments."""

    filter_length: int = 512
    num_mel_channels: int = 64


SINCE_2_3: dict[str, Any] = {"act_fn": "snakebeta", "antialias": True, "final_bias": False}
EXTENDED: dict[str, dict[str, Any]] = {
    "": SINCE_2_3 | {"hidden_channels": 1536, "upsample_kernel_sizes": (11, 4, 4, 4, 4, 4)},
    "bwe_": SINCE_2_3 | {"hidden_channels": 512, "upsample_kernel_sizes": (12, 11, 4, 4, 4)},
}
"""Defaults of LTX2VocoderWithBWE where they differ from LTX2Vocoder's, by what its arguments begin with."""


def extended_vocoder(arguments: Mapping[str, Any]) -> Tree:
    """LTX2VocoderWithBWE: a vocoder, and another for the bandwidth above it, whose arguments begin with `bwe_`."""
    sizes = known(SpectrumSizes, arguments)
    frequencies = sizes.filter_length // 2 + 1
    basis = (2 * frequencies, 1, sizes.filter_length)
    extending = {name.removeprefix("bwe_"): value for name, value in arguments.items() if name.startswith("bwe_")}
    return {
        "vocoder": vocoder({**EXTENDED[""], **arguments}),
        "bwe_generator": vocoder({**EXTENDED["bwe_"], **extending}),
        "mel_stft": {
            "stft_fn": {"forward_basis": basis, "inverse_basis": basis},
            "mel_basis": (sizes.num_mel_channels, frequencies),
        },
    }
