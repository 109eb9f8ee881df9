"""The spatial upsampler of latents, a file of its own beside the models: its architecture by its tensors. No torch.

Lightricks' files and diffusers' folder `latent_upsampler` have the same names of tensors. Every argument of the module
shows in their shapes, so neither the header's config nor a config.json is needed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.stored import Weight, grouped, tensors_of
from ltx_core.errors import CheckpointError

RATIONAL, PLAIN = "upsampler.conv.weight", "upsampler.0.weight"
"""The convolution that makes the new places, of the two kinds: in a module that could shrink again, and alone."""
DOUBLED = 4
"""Times as many channels as it takes, where every place becomes 2 x 2."""
GROUPS = 32
"""Of the group norms; widths are multiples of it."""


def open_upsampler(path: Path, model: Model | None = None) -> dict[str, Weight]:
    """The weights of a spatial upsampler, by the names that they have in diffusers' LTX2LatentUpsamplerModel; their
    values are not read. `model`: the one whose latents it is for.

    Raises:
        CheckpointError: the file is none, or changes lengths or sizes otherwise than by doubling width and height, or
            is for latents of another number of channels than the model's.
    """
    weights = grouped(tensors_of(path))
    channels = upsampler_arguments(path, weights)["in_channels"]
    if model is not None and (own := model.shapes("video_vae")["latents_mean"][0]) != channels:
        raise CheckpointError(
            f"{path} upscales latents of {channels} channels and {model.path} has {own}; give the upscaler that was "
            "published for this model"
        )
    return weights


def upsampler_arguments(path: Path, weights: Mapping[str, Weight]) -> dict[str, Any]:
    """Arguments of LTX2LatentUpsamplerModel; `path` is for messages.

    Raises:
        CheckpointError: as for `open_upsampler`.
    """
    shapes = {name: weight.shape for name, weight in weights.items()}
    grows = shapes.get(RATIONAL) or shapes.get(PLAIN)
    first = shapes.get("initial_conv.weight", ())
    if grows is None or len(first) not in (4, 5) or first[0] % GROUPS:
        raise CheckpointError(
            f"{path} is no upsampler of latents: {', '.join(sorted(shapes)[:3])} are its first tensors. Give the "
            "spatial upscaler that Lightricks publishes beside the model, such as "
            "ltx-2-spatial-upscaler-x2-1.0.safetensors"
        )
    if len(grows) != 4 or grows[0] != DOUBLED * grows[1]:
        name = RATIONAL if RATIONAL in shapes else PLAIN
        raise CheckpointError(
            f"{path} is an upsampler that does not double width and height alone ({name} is {list(grows)}); renders "
            "are sampled at half their size, so the spatial upscaler x2 is wanted, not the temporal one or another "
            "factor"
        )
    return {
        "in_channels": first[1],
        "mid_channels": first[0],
        "num_blocks_per_stage": len({name for name in shapes if re.fullmatch(r"res_blocks\.\d+\.conv1\.weight", name)}),
        "dims": len(first) - 2,
        "use_rational_resampler": RATIONAL in shapes,
    }
