"""Write the miniature checkpoint: one file in Lightricks' combined layout, random weights, real topology."""

from pathlib import Path

import torch
from torch import Tensor

from ltx_core.checkpoint.keys import PREFIXES, UNUSED, to_original_keys
from ltx_core.miniature.calibrate import calibrate
from ltx_core.miniature.header import VIDEO_CHANNELS, Generation, config, metadata
from ltx_core.miniature.modules import build_modules
from ltx_core.miniature.weights import save_tensors, seeded


def write_checkpoint(path: Path, generation: Generation, seed: int) -> Path:
    """Write the checkpoint in bfloat16; the same bytes for the same generation and seed.

    Raises:
        StorageError: the disk is full or read-only.
    """
    save_tensors(path, checkpoint_tensors(generation, seed), metadata(generation))
    return path


def checkpoint_tensors(generation: Generation, seed: int) -> dict[str, Tensor]:
    """All tensors under Lightricks' names, bfloat16."""
    sections = config(generation)
    with seeded(seed):
        modules = build_modules(sections)
    calibrate(modules, sections)
    tensors: dict[str, Tensor] = {}
    for component, module in modules.items():
        tensors |= to_original_keys(component, module.state_dict())
    # Statistics that released files carry and nothing reads.
    for name in UNUSED["video_vae"]:
        tensors[PREFIXES["video_vae"] + name] = torch.ones(VIDEO_CHANNELS)
    return {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
