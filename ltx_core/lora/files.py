"""LoRA files: one layout that ComfyUI, ltx-core and diffusers all load, read back with every key accounted for.

Layout: `diffusion_model.<module>.lora_A.weight` [rank, in] and `.lora_B.weight` [out, rank], bf16. alpha / rank is
folded into B, because ltx-core ignores alpha and diffusers refuses an `.alpha` tensor.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ltx_core.errors import CheckpointError
from ltx_core.lora.inject import ADAPTER, add_lora, lora_layers
from ltx_core.lora.tensor_file import read_tensors, write_tensors

PREFIX = "diffusion_model."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def export_tensors(transformer: torch.nn.Module, adapter: str = ADAPTER) -> dict[str, torch.Tensor]:
    """The adapter as a file holds it: bf16, alpha folded."""
    tensors = {}
    for name, layer in lora_layers(transformer, adapter).items():
        down, up = layer.lora_A[adapter].weight.detach(), layer.lora_B[adapter].weight.detach()
        tensors[f"{PREFIX}{name}{DOWN}"] = down.to("cpu", torch.bfloat16)
        tensors[f"{PREFIX}{name}{UP}"] = (up.float() * layer.scaling[adapter]).to("cpu", torch.bfloat16)
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


def load_lora(path: Path, transformer: Any, *, adapter: str = ADAPTER, strength: float = 1.0) -> dict[str, str]:
    """Put a LoRA file on the transformer as an adapter, scaled by `strength`; give its header strings.

    Raises:
        CheckpointError: another layout, a half pair, ranks that differ, or a layer the transformer does not have.
    """
    tensors, metadata = read_tensors(path)
    pairs = _pairs(path, tensors)
    rank = _check_shapes(path, transformer, pairs)
    add_lora(transformer, sorted(pairs), rank=rank, alpha=strength * rank, seed=0, adapter=adapter)
    for name, layer in lora_layers(transformer, adapter).items():
        down, up = pairs[name]
        layer.lora_A[adapter].weight.data.copy_(down)
        layer.lora_B[adapter].weight.data.copy_(up)
    return metadata


def _pairs(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    foreign = [name for name in tensors if not (name.startswith(PREFIX) and name.endswith((DOWN, UP)))]
    if foreign or not tensors:
        raise CheckpointError(
            f"{path} holds {foreign[:3] or 'no tensors'}; wanted are only {PREFIX}<module>{DOWN} and {UP}. Convert the "
            f"file, folding alpha / rank into B."
        )
    modules = sorted({name.removeprefix(PREFIX).removesuffix(DOWN).removesuffix(UP) for name in tensors})
    halves = [m for m in modules if not {PREFIX + m + DOWN, PREFIX + m + UP} <= tensors.keys()]
    if halves:
        raise CheckpointError(f"{path} has only one of lora_A and lora_B for {halves[:3]}; both are wanted")
    return {m: (tensors[PREFIX + m + DOWN], tensors[PREFIX + m + UP]) for m in modules}


def _check_shapes(path: Path, transformer: Any, pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> int:
    """The one rank of all pairs, each of which must fit its layer."""
    ranks = {size for down, up in pairs.values() for size in (down.shape[0], up.shape[1])}
    if len(ranks) != 1:
        raise CheckpointError(f"{path} mixes ranks {sorted(ranks)}; one rank is wanted")
    layers = dict(transformer.named_modules())
    for module, (down, up) in pairs.items():
        layer = layers.get(module)
        weight = getattr(layer, "weight", None)
        wanted = (up.shape[0], down.shape[1])
        if not isinstance(weight, torch.Tensor) or tuple(weight.shape) != wanted:
            found = "missing" if layer is None else f"of shape {list(getattr(weight, 'shape', []))}"
            raise CheckpointError(
                f"{path} changes {module} as a [{wanted[0]}, {wanted[1]}] layer, which is {found} in this transformer; "
                f"use the LoRA with the model generation it was trained on"
            )
    return ranks.pop()
