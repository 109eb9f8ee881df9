"""A LoRA file of whatever layout as pairs of matrices, every tensor accounted for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ltx_core.errors import CheckpointError
from ltx_core.files.tensors import read_tensors
from ltx_core.lora.adapter_header import AdapterHeader, adapter_header
from ltx_core.lora.layout import Role, parts


@dataclass(frozen=True)
class LoraPair:
    """What is added to one weight: scale * up @ down."""

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
    if not all(half.is_floating_point() and bool(torch.isfinite(half).all()) for half in (down, up)):
        raise CheckpointError(
            f"{path} has {down.dtype} and {up.dtype} weights for {module}, or NaN or infinity among them; finite "
            f"float32, bfloat16 or float16 are wanted"
        )
    return LoraPair(down, up, _scale(path, module, found.get("alpha"), header, len(down)))


def _scale(path: Path, module: str, alpha: torch.Tensor | None, header: AdapterHeader | None, rank: int) -> float:
    named = None if alpha is None else _alpha(path, module, alpha) / rank
    told = None if header is None else header.scale(module, rank)
    if named is not None and told is not None and not math.isclose(named, told, rel_tol=1e-3):
        raise CheckpointError(
            f"{path} scales {module} by {named:g} in its alpha tensor and by {told:g} in its lora_adapter_metadata "
            f"header; remove one"
        )
    return next((scale for scale in (named, told) if scale is not None), 1.0)


def _alpha(path: Path, module: str, alpha: torch.Tensor) -> float:
    if alpha.numel() != 1 or not math.isfinite(alpha.item()):
        raise CheckpointError(f"{path} has alpha {alpha.tolist()} for {module}; one finite number is wanted")
    return float(alpha.item())
