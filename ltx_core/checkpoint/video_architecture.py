"""The video VAE's block lists as constructor arguments of diffusers' AutoencoderKLLTX2Video.

Lightricks lists residual and resampling blocks in turn. The decoder's list runs from pixels to latents, against the
order of execution, which is how diffusers wants layers, widths and factors, but not its upsampling kinds.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ltx_core.checkpoint.architecture import Config, wanted
from ltx_core.errors import CheckpointError
from ltx_core.shapes import SPACE_STRIDE, TIME_STRIDE

KINDS = {"compress_space": "spatial", "compress_time": "temporal", "compress_all": "spatiotemporal"}
"""Lightricks' names of resampling blocks and diffusers'."""


class Resampling(NamedTuple):
    """One block that changes resolution."""

    kind: str
    multiplier: int
    residual: bool


class Blocks(NamedTuple):
    """A block list, taken apart."""

    layers: tuple[int, ...]
    inject_noise: tuple[bool, ...]
    resampling: tuple[Resampling, ...]


def video_vae_arguments(config: Config) -> dict[str, Any]:
    """Arguments of AutoencoderKLLTX2Video.

    Without `spatial_padding_mode` (2.0) the encoder pads with zeros and the decoder by reflection.

    Raises:
        CheckpointError: a block or a compression that these classes do not know.
    """
    section = wanted(config, "vae")
    encoder = _blocks(wanted(section, "encoder_blocks"), "_res")
    decoder = _blocks(wanted(section, "decoder_blocks"), "")
    patch = wanted(section, "patch_size")
    _check(section, encoder, patch)
    padding = section.get("spatial_padding_mode")
    return {
        "in_channels": section.get("in_channels", 3),
        "out_channels": section.get("out_channels", 3),
        "latent_channels": wanted(section, "latent_channels"),
        "patch_size": patch,
        "patch_size_t": 1,
        "timestep_conditioning": section.get("timestep_conditioning", False),
        "scaling_factor": section.get("scaling_factor", 1.0),
        "encoder_causal": True,
        "decoder_causal": section.get("causal_decoder", False),
        "encoder_spatial_padding_mode": padding or "zeros",
        "decoder_spatial_padding_mode": padding or "reflect",
        "spatial_compression_ratio": SPACE_STRIDE,
        "temporal_compression_ratio": TIME_STRIDE,
        "down_block_types": ("LTX2VideoDownBlock3D",) * len(encoder.resampling),
        "block_out_channels": _widths(wanted(section, "encoder_base_channels"), encoder),
        "layers_per_block": encoder.layers,
        "spatio_temporal_scaling": (True,) * len(encoder.resampling),
        "downsample_type": tuple(block.kind for block in encoder.resampling),
        "decoder_block_out_channels": _widths(wanted(section, "decoder_base_channels"), decoder),
        "decoder_layers_per_block": decoder.layers,
        "decoder_spatio_temporal_scaling": (True,) * len(decoder.resampling),
        "decoder_inject_noise": decoder.inject_noise,
        "upsample_type": tuple(block.kind for block in reversed(decoder.resampling)),
        "upsample_residual": tuple(block.residual for block in decoder.resampling),
        "upsample_factor": tuple(block.multiplier for block in decoder.resampling),
    }


def _blocks(listed: list[tuple[str, Mapping[str, Any]]], suffix: str) -> Blocks:
    residual, resampling = listed[::2], listed[1::2]
    kinds = {name + suffix: kind for name, kind in KINDS.items()}
    unknown = [name for name, _ in residual if name != "res_x"] + [name for name, _ in resampling if name not in kinds]
    if unknown or len(residual) != len(resampling) + 1:
        raise CheckpointError(
            f"the video VAE's blocks are {[name for name, _ in listed]}; res_x and one of {', '.join(kinds)} in turn "
            "are wanted. This kind of VAE (a diffusion decoder, say) is not supported."
        )
    return Blocks(
        layers=tuple(block["num_layers"] for _, block in residual),
        inject_noise=tuple(bool(block.get("inject_noise", False)) for _, block in residual),
        resampling=tuple(
            Resampling(kinds[name], block.get("multiplier", 1), bool(block.get("residual", False)))
            for name, block in resampling
        ),
    )


def _widths(base: int, blocks: Blocks) -> tuple[int, ...]:
    """Widths after each resampling block, counted from the pixels' side."""
    return tuple(itertools.accumulate((block.multiplier for block in blocks.resampling), int.__mul__, initial=base))[1:]


def _check(section: Config, encoder: Blocks, patch: int) -> None:
    space = patch * math.prod(2 for block in encoder.resampling if block.kind != "temporal")
    time = math.prod(2 for block in encoder.resampling if block.kind != "spatial")
    if (space, time) != (SPACE_STRIDE, TIME_STRIDE):
        raise CheckpointError(
            f"the video VAE compresses {space}x in space and {time}x in time; this trainer is made for {SPACE_STRIDE}x "
            f"and {TIME_STRIDE}x"
        )
    if (
        section.get("norm_layer", "pixel_norm") != "pixel_norm"
        or section["encoder_base_channels"] != section["latent_channels"]
    ):
        raise CheckpointError(
            f"the video VAE has norm {section.get('norm_layer')} and {section['encoder_base_channels']} base channels "
            f"over {section['latent_channels']} latent channels; pixel_norm and equal numbers are wanted"
        )
