"""Options of the engine."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from ltx_core.errors import ConfigError
from ltx_core.io.digest import text_digest

Precision = Literal["native", "int8", "fp8"]
MULTIPLE = 16
"""Both sides of a weight must be multiples of this for the 8-bit products of all GPUs."""
Products = Literal["all", "none"] | frozenset[str]
"""Layers that multiply in 8 bits, by their names in a block."""


@dataclass(frozen=True)
class LayerChoice:
    """The storage and the products of layers whose weights can have 8 bits."""

    products: Products = "none"
    native: frozenset[str] = frozenset()
    """Layers that keep their own dtype, by their names in the transformer."""

    def digest(self) -> str:
        """Names the choice."""
        products = self.products if isinstance(self.products, str) else ",".join(sorted(self.products))
        return text_digest(products, *sorted(self.native))


@dataclass(frozen=True)
class EngineOptions:
    """The computing of blocks. The defaults change nothing: diffusers' own arithmetic, all weights resident."""

    precision: Precision = "native"
    """Of the blocks' frozen linear layers; `native` is the dtype they are loaded in."""
    products: Products = "all"
    """With 8-bit weights: which layers multiply in 8 bits; the others dequantise their weights for each product."""
    native_layers: frozenset[str] = frozenset()
    """With 8-bit weights: layers that keep their own dtype, by their names in the transformer."""
    low_backward: bool = True
    """With 8-bit products: gradients through frozen layers in 8 bits too."""
    offloaded_blocks: int = 0
    """Number of blocks whose frozen weights are on the host."""
    num_slots: int = 2
    """Blocks' worth of device memory for offloaded weights."""
    offload_folder: Path | None = None
    """Stream from files here and not from page-locked memory."""
    forward_only: bool = False
    """No backward comes, as in sampling: offloaded weights go round and round, not there and back."""
    activation_checkpointing: float = 0.0
    """Fraction of the blocks with activation checkpointing, 0 to 1. Offloaded blocks always have it."""
    activation_budget: float = 1.0
    """Inside compiled blocks: share of the activations that is kept, 0 to 1."""
    activation_offload: int = 0
    """Bytes of a step's activations that wait in host memory for the backward; blocks with checkpointing have none."""
    fused: bool = False
    """Project query, key and value of one input together, and LoRAs in the base's dtype."""
    compiled: bool = False
    """Compile one block, for all blocks."""
    graphs: bool = False
    """Capture forward and backward as a CUDA graph for each form of batch."""

    def __post_init__(self) -> None:
        """Hold the parts to each other.

        Raises:
            ConfigError: a value is out of range, or would do nothing.
        """
        if not 0 <= self.activation_checkpointing <= 1:
            raise ConfigError(
                f"activation_checkpointing is {self.activation_checkpointing}; a fraction of the blocks from 0 to 1 "
                f"is wanted"
            )
        if not 0 <= self.activation_budget <= 1:
            raise ConfigError(f"activation_budget is {self.activation_budget}; a fraction from 0 to 1 is wanted")
        if self.activation_budget < 1 and not self.compiled:
            raise ConfigError(
                "activation_budget works inside compiled blocks; set compiled, or use activation_checkpointing"
            )
        if self.activation_offload < 0:
            raise ConfigError(f"activation_offload is {self.activation_offload} bytes; 0 or more are wanted")
        if self.activation_offload and self.activation_checkpointing == 1:
            raise ConfigError(
                "activation_checkpointing is 1, so no block keeps activations that could wait; set activation_offload "
                "to 0"
            )
        if self.graphs and self.offload_folder is not None:
            raise ConfigError("a CUDA graph copies from page-locked memory; offload to memory, or train without graphs")

    @property
    def multiplies(self) -> bool:
        """True if any layer multiplies in 8 bits."""
        return self.precision != "native" and self.products not in ("none", frozenset())

    def replaced(self, **changes: Any) -> Self:
        """The same with some options changed, and held to each other again."""
        return replace(self, **changes)


def checkpointed_blocks(num_blocks: int, fraction: float) -> frozenset[int]:
    """Return which blocks have activation checkpointing: a fraction of them, evenly spread."""
    return frozenset(spread(num_blocks, round(num_blocks * fraction)))


def offloaded_blocks(num_blocks: int, num_offloaded: int) -> list[int]:
    """Return which blocks to offload: evenly spread, so that the computing of resident ones hides the copies of the
    others.

    Raises:
        ConfigError: more blocks than there are.
    """
    if not 0 <= num_offloaded <= num_blocks:
        raise ConfigError(f"{num_offloaded} offloaded blocks; the model has {num_blocks}")
    return spread(num_blocks, num_offloaded)


def spread(num_blocks: int, wanted: int) -> list[int]:
    """`wanted` of `num_blocks` indices, evenly spread, the last among them."""
    return [i for i in range(num_blocks) if (i + 1) * wanted // num_blocks > i * wanted // num_blocks]
