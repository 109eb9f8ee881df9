"""A small spatial upsampler of latents with random weights, in the layout of Lightricks' files."""

import json
from pathlib import Path

import torch
from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
from safetensors.torch import save_file

WIDTH = 32
"""Group norms have 32 groups."""


def write_upsampler(
    path: Path, channels: int, *, rational: bool = True, scale: float = 2.0, time: bool = False
) -> Path:
    """Write one for latents of so many channels.

    The upsampler of LTX-2.0 is `rational`, that of 2.3 is not. `scale` other than 2, and one of `time`, are published
    too, and none that renders can use.
    """
    arguments = {
        "in_channels": channels,
        "mid_channels": WIDTH,
        "num_blocks_per_stage": 1,
        "dims": 3,
        "spatial_upsample": not time,
        "temporal_upsample": time,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = LTX2LatentUpsamplerModel(
            **arguments, rational_spatial_scale=scale, use_rational_resampler=rational and not time
        )
    config = arguments | {"spatial_scale": scale, "rational_resampler": rational}
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(tensors, path, metadata={"config": json.dumps(config)})
    return path
