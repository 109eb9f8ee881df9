"""LoRA files: written in one layout that other programs load, read in every common one.

Layout: `diffusion_model.<module>.lora_A.weight` [rank, in] and `.lora_B.weight` [out, rank], bf16, modules under
Lightricks' names. alpha / rank is folded into B, because ltx-core ignores alpha and diffusers refuses an `.alpha`
tensor.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ltx_core.adapters.lora import ADAPTER, add_lora, linear_shapes, lora_layers
from ltx_core.adapters.lora_layout import (
    DOWN,
    PREFIX,
    UP,
    AdapterHeader,
    Role,
    adapter_header,
    check_fits,
    original_name,
    parts,
)
from ltx_core.errors import CheckpointError
from ltx_core.io.tensors import not_finite, read_tensors


@dataclass(frozen=True)
class LoraPair:
    """The change of one weight: scale * up @ down."""

    down: torch.Tensor
    """[rank, in]"""
    up: torch.Tensor
    """[out, rank]"""
    scale: float = 1.0
    """alpha / rank; 1 where the file names no alpha, as ltx-core and diffusers take it."""

    @property
    def rank(self) -> int:
        return len(self.down)

    @property
    def shape(self) -> tuple[int, int]:
        """[out, in] of the weight it fits."""
        return len(self.up), self.down.shape[1]


@dataclass(frozen=True)
class Lora:
    """The content of a LoRA file."""

    path: Path
    pairs: dict[str, LoraPair]
    """By module of diffusers' transformer, sorted."""
    metadata: dict[str, str]
    """Header strings."""

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """[out, in] of the weights that it changes, by module."""
        return {module: pair.shape for module, pair in self.pairs.items()}


def read_lora(path: Path) -> Lora:
    """Read a LoRA for the transformer.

    Understood are the prefixes `diffusion_model.`, `transformer.`, `base_model.model.` and none, the halves lora_A and
    lora_B or lora_down and lora_up, `.alpha` tensors, diffusers' `lora_adapter_metadata` header, ranks that differ
    between modules, and any floating dtype.

    Raises:
        CheckpointError: a tensor is unknown, a half is missing, ranks or alphas contradict, or a value is not finite.
    """
    tensors, metadata = read_tensors(path)
    if broken := not_finite(tensors.items()):
        raise CheckpointError(f"{path} has NaN or infinity in {broken[0]}; finite weights are wanted")
    found = parts(path, tensors)
    header = adapter_header(path, metadata, sorted(found))
    return Lora(path, {module: _pair(path, module, found[module], header) for module in sorted(found)}, metadata)


def _pair(path: Path, module: str, found: Mapping[Role, torch.Tensor], header: AdapterHeader | None) -> LoraPair:
    if not {"down", "up"} <= found.keys():
        raise CheckpointError(f"{path} has only one of lora_A and lora_B for {module}; both are wanted")
    down, up = found["down"], found["up"]
    if down.ndim != 2 or up.ndim != 2 or len(down) != up.shape[1]:
        raise CheckpointError(
            f"{path} has lora_A {list(down.shape)} and lora_B {list(up.shape)} for {module}; wanted are [rank, in] and "
            f"[out, rank] with equal ranks"
        )
    if not (down.is_floating_point() and up.is_floating_point()):
        raise CheckpointError(
            f"{path} has {down.dtype} and {up.dtype} weights for {module}; float32, bfloat16 or float16 are wanted"
        )
    return LoraPair(down, up, _scale(path, module, found.get("alpha"), header, len(down)))


def _scale(path: Path, module: str, alpha: torch.Tensor | None, header: AdapterHeader | None, rank: int) -> float:
    named = None if alpha is None else _alpha(path, module, alpha) / rank
    stated = None if header is None else header.scale(module, rank)
    if named is not None and stated is not None and not math.isclose(named, stated, rel_tol=1e-3):
        raise CheckpointError(
            f"{path} scales {module} by {named:g} in its alpha tensor and by {stated:g} in its lora_adapter_metadata "
            f"header; remove one"
        )
    return next((scale for scale in (named, stated) if scale is not None), 1.0)


def _alpha(path: Path, module: str, alpha: torch.Tensor) -> float:
    if alpha.numel() != 1 or not math.isfinite(alpha.item()):
        raise CheckpointError(f"{path} has alpha {alpha.tolist()} for {module}; one finite number is wanted")
    return float(alpha.item())


def export_tensors(transformer: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The adapter as a file holds it, in memory of its own: bf16, alpha folded."""
    tensors = {}
    for name, layer in lora_layers(transformer).items():
        down, up = layer.lora_A[ADAPTER].weight.detach(), layer.lora_B[ADAPTER].weight.detach()
        key = PREFIX + original_name(name)
        tensors[key + DOWN] = down.to("cpu", torch.bfloat16, copy=True)
        tensors[key + UP] = (up.float() * layer.scaling[ADAPTER]).to("cpu", torch.bfloat16)
    return tensors


def check_tensors(
    tensors: Mapping[str, torch.Tensor], zero_at_start: str | tuple[str, ...] = UP, named: str = "lora_B"
) -> None:
    """Refuse an adapter that is broken or does nothing.

    `zero_at_start` are the endings of the tensors that are zero until something is learnt, which messages call `named`.

    Raises:
        CheckpointError: a weight is NaN or infinite, or every one of those is zero still.
    """
    if broken := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise CheckpointError(
            f"{len(broken)} of {len(tensors)} tensors of the adapter hold NaN or infinity, the first is {broken[0]}; "
            f"finite weights are wanted. Train again with a lower learning_rate or max_grad_norm."
        )
    if not any(bool(tensor.any()) for name, tensor in tensors.items() if name.endswith(zero_at_start)):
        raise CheckpointError(
            f"every {named} is zero: the adapter would change nothing. Train for more steps or with a higher "
            f"learning_rate."
        )


def load_lora(
    path: Path,
    transformer: Any,
    *,
    adapter: str = ADAPTER,
    strength: float = 1.0,
    dtype: torch.dtype | None = None,
    partly: bool = False,
) -> dict[str, str]:
    """Put a LoRA file of any layout that `read_lora` knows on the transformer as an adapter, scaled by `strength`;
    `partly` if it may change layers that this one lacks, since it has fewer blocks.

    Its weights are float32, as in training, or of another `dtype`, which is what a large adapter is sampled with.
    Gives the header strings of the file.

    Raises:
        CheckpointError: the file is not understood, or changes a layer that the transformer does not have.
    """
    lora, shapes = read_lora(path), linear_shapes(transformer)
    if partly:
        lora = replace(lora, pairs={module: pair for module, pair in lora.pairs.items() if module in shapes})
    check_fits(path, lora.shapes, shapes)
    ranks = {module: pair.rank for module, pair in lora.pairs.items()}
    rank = max(ranks.values())
    add_lora(transformer, sorted(ranks), rank=rank, alpha=strength * rank, seed=None, adapter=adapter, ranks=ranks)
    _fill(lora, transformer, adapter, dtype or torch.float32)
    return lora.metadata


def fill_lora(path: Path, transformer: Any, adapter: str = ADAPTER) -> None:
    """Give the layers of an adapter that is on the transformer the weights of a LoRA file, in float32, unscaled
    otherwise.

    Raises:
        CheckpointError: the file is not understood, or changes other layers than the adapter.
    """
    lora, layers = read_lora(path), lora_layers(transformer, adapter)
    if odd := sorted(lora.pairs.keys() ^ layers.keys()):
        raise CheckpointError(
            f"{path} changes {len(lora.pairs)} layers and the adapter {len(layers)}; they differ in {odd[:4]}"
        )
    for layer in layers.values():
        layer.scaling[adapter] = 1.0
    _fill(lora, transformer, adapter, torch.float32)


def _fill(lora: Lora, transformer: Any, adapter: str, dtype: torch.dtype) -> None:
    for name, layer in lora_layers(transformer, adapter).items():
        pair, device = lora.pairs[name], layer.get_base_layer().weight.device
        for half, stored, scale in (
            (layer.lora_A[adapter], pair.down, 1.0),
            (layer.lora_B[adapter], pair.up, pair.scale),
        ):
            weight = (stored.to(device).float() * scale).to(dtype)
            half.weight = torch.nn.Parameter(weight, requires_grad=half.weight.requires_grad)
