"""LoRA files: written in one layout that ComfyUI, ltx-core and diffusers all load; read in every common one.

Layout: `diffusion_model.<module>.lora_A.weight` [rank, in] and `.lora_B.weight` [out, rank], bf16, modules under
Lightricks' names. alpha / rank is folded into B, because ltx-core ignores alpha and diffusers refuses an `.alpha`
tensor.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ltx_core.errors import CheckpointError
from ltx_core.files.tensors import write_tensors
from ltx_core.lora.fit import check_fits
from ltx_core.lora.inject import ADAPTER, add_lora, lora_layers
from ltx_core.lora.layout import DOWN, PREFIX, UP, original_name
from ltx_core.lora.read import read_lora


def export_tensors(transformer: torch.nn.Module, adapter: str = ADAPTER) -> dict[str, torch.Tensor]:
    """The adapter as a file holds it: bf16, alpha folded."""
    tensors = {}
    for name, layer in lora_layers(transformer, adapter).items():
        down, up = layer.lora_A[adapter].weight.detach(), layer.lora_B[adapter].weight.detach()
        key = PREFIX + original_name(name)
        tensors[key + DOWN] = down.to("cpu", torch.bfloat16)
        tensors[key + UP] = (up.float() * layer.scaling[adapter]).to("cpu", torch.bfloat16)
    return tensors


def save_lora(path: Path, transformer: torch.nn.Module, provenance: Mapping[str, str], adapter: str = ADAPTER) -> None:
    """Write the adapter. Its bytes are a function of the weights and `provenance`, which becomes header strings.

    Raises:
        CheckpointError: a weight is NaN or infinite, or every B is zero; nothing is written.
        StorageError: the disk is full or read-only.
    """
    tensors = export_tensors(transformer, adapter)
    check_tensors(tensors)
    write_tensors(path, tensors, {"format": "pt", **provenance})


def check_tensors(tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse a LoRA that is broken or does nothing.

    Raises:
        CheckpointError: a weight is NaN or infinite, or every B is zero.
    """
    if broken := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise CheckpointError(
            f"{len(broken)} of {len(tensors)} LoRA tensors hold NaN or infinity, the first is {broken[0]}; finite "
            f"weights are wanted. Train again with a lower learning_rate or max_grad_norm."
        )
    if not any(bool(tensor.any()) for name, tensor in tensors.items() if name.endswith(UP)):
        raise CheckpointError(
            "every lora_B is zero: the LoRA would change nothing. Train for more steps or with a higher learning_rate."
        )


def load_lora(
    path: Path, transformer: Any, *, adapter: str = ADAPTER, strength: float = 1.0, dtype: torch.dtype | None = None
) -> dict[str, str]:
    """Put a LoRA file of any layout that `read_lora` knows on the transformer as an adapter, scaled by `strength`.

    Its weights are float32, as in training, or of another `dtype`, which is what a large adapter is sampled with.
    Gives the header strings of the file.

    Raises:
        CheckpointError: the file is not understood, or changes a layer that the transformer does not have.
    """
    lora = read_lora(path)
    check_fits(path, lora.shapes, _shapes(transformer))
    ranks = {module: pair.rank for module, pair in lora.pairs.items()}
    rank = max(ranks.values())
    add_lora(transformer, sorted(ranks), rank=rank, alpha=strength * rank, seed=0, adapter=adapter, ranks=ranks)
    for name, layer in lora_layers(transformer, adapter).items():
        pair = lora.pairs[name]
        for half, weight in ((layer.lora_A[adapter], pair.down), (layer.lora_B[adapter], pair.up.float() * pair.scale)):
            half.weight.data = weight.to(half.weight.device, dtype or half.weight.dtype)
    return lora.metadata


def _shapes(transformer: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of the layers that an adapter can change, by module; those under an adapter by their own name."""
    weights = ((name, getattr(module, "weight", None)) for name, module in transformer.named_modules())
    return {name: tuple(w.shape) for name, w in weights if isinstance(w, torch.Tensor) and w.ndim == 2}
