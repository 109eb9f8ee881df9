"""A LoRA as a file, and added to the weights themselves, as Lightricks' inference does: what tests compare with."""

from collections.abc import Mapping
from pathlib import Path

import torch

from ltx_core.adapters.lora_files import Lora, check_tensors, export_tensors
from ltx_core.adapters.lora_layout import check_fits
from ltx_core.errors import CheckpointError
from ltx_core.io.tensors import write_tensors


def fuse_lora(weights: Mapping[str, torch.Tensor], lora: Lora, strength: float = 1.0) -> dict[str, torch.Tensor]:
    """Weights of the transformer, by diffusers' names, with W + strength * B @ A where the LoRA changes them.

    Unchanged weights are passed through, not copied. Scale, product and sum are in the weight's own dtype (source:
    Lightricks' inference), so in bf16 the change is rounded before it is added.

    Raises:
        CheckpointError: the LoRA changes a weight that is missing, of another shape, or quantised.
    """
    suffix = ".weight"
    shapes = {name.removesuffix(suffix): tuple(w.shape) for name, w in weights.items() if name.endswith(suffix)}
    check_fits(lora.path, lora.shapes, shapes)
    fused = dict(weights)
    for module, pair in lora.pairs.items():
        weight = weights[module + suffix]
        if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise CheckpointError(f"{module} is stored as {weight.dtype}; a LoRA can be fused into float weights only")
        up, down = (half.to(weight.device, weight.dtype) for half in (pair.up, pair.down))
        fused[module + suffix] = weight + (up * (strength * pair.scale)) @ down
    return fused


def save_lora(path: Path, transformer: torch.nn.Module, provenance: Mapping[str, str]) -> None:
    """Write the LoRA of a transformer as a run does, unless it is broken or does nothing."""
    tensors = export_tensors(transformer)
    check_tensors(tensors)
    write_tensors(path, tensors, {"format": "pt", **provenance})
