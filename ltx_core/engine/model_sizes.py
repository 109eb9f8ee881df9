"""How large the parts of a transformer are, counted from the shapes in its header. No torch, nothing is built."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ltx_core.errors import CheckpointError
from ltx_core.lora.names import BLOCKS, target_layers

MULTIPLE = 16
"""Both sides of a weight must be multiples of this to be stored in 8 bits; see ltx_core/engine/low_precision.py."""
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class ModelSizes:
    """Counts of weights, and widths. The blocks are alike, so one stands for all."""

    num_blocks: int
    width: int
    """Of a video token between blocks."""
    audio_width: int
    block_products: int
    """Weights of one block that 8 bits can hold."""
    block_rows: int
    """Rows of those, which have a float32 scale each."""
    block_rest: int
    """Weights of one block that keep their dtype: biases, norms, modulation tables."""
    outside: int
    """Weights of the transformer outside its blocks."""
    connectors: int = 0
    """Weights of the text connectors, which stay on the device in training."""
    layers: Mapping[str, int] = field(default_factory=dict)
    """Weights of each linear layer of a block that 8 bits can hold, by its name in the transformer."""

    def block_bytes(self, *, in_8_bits: bool, item_bytes: int) -> int:
        """Frozen weights of one block."""
        products = self.block_products + 4 * self.block_rows if in_8_bits else self.block_products * item_bytes
        return products + self.block_rest * item_bytes

    @property
    def largest_layer(self) -> int:
        """Weights of the largest of them."""
        return max(self.layers.values(), default=0)

    def native_bytes(self, names: Collection[str], item_bytes: int) -> tuple[int, int]:
        """What layers that keep their dtype take beyond their 8 bits: all together, and those of one block at most."""
        by_block: dict[str, int] = {}
        for name in names:
            block = name.split(".")[1]
            by_block[block] = by_block.get(block, 0) + self.layers[name] * (item_bytes - 1)
        return sum(by_block.values()), max(by_block.values(), default=0)


def model_sizes(transformer: Shapes, connectors: Shapes | None = None) -> ModelSizes:
    """Sizes from shapes by the names in diffusers' modules.

    Raises:
        CheckpointError: these are no transformer's.
    """
    blocks: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in transformer.items():
        if name.startswith(BLOCKS):
            blocks.setdefault(int(name.split(".")[1]), {})[name] = shape
    if not blocks or not {"proj_in.weight", "audio_proj_in.weight"} <= transformer.keys():
        raise CheckpointError(f"{sorted(transformer)[:3]} are no LTX-2 transformer's tensors; give a whole checkpoint")
    largest = max(blocks.values(), key=lambda block: sum(map(math.prod, block.values())))
    products = [shape for name, shape in largest.items() if _is_product(name, shape)]
    weights = sum(map(math.prod, largest.values()))
    narrow = sum(map(math.prod, products))
    return ModelSizes(
        num_blocks=len(blocks),
        width=transformer["proj_in.weight"][0],
        audio_width=transformer["audio_proj_in.weight"][0],
        block_products=narrow,
        block_rows=sum(rows for rows, _ in products),
        block_rest=weights - narrow,
        outside=sum(math.prod(shape) for name, shape in transformer.items() if not name.startswith(BLOCKS)),
        connectors=sum(map(math.prod, (connectors or {}).values())),
        layers={
            name.removesuffix(".weight"): math.prod(shape)
            for block in blocks.values()
            for name, shape in block.items()
            if _is_product(name, shape)
        },
    )


def num_trained(transformer: Shapes, targets: str | Sequence[str], *, rank: int, video_only: bool = False) -> int:
    """Weights of a LoRA: rank * (inputs + outputs) for each layer that `targets` means.

    Raises:
        ConfigError: an unknown preset, or a target that matches no layer.
    """
    linear = linear_shapes(transformer)
    layers = target_layers(sorted(linear), targets, video_only=video_only)
    return sum(rank * sum(linear[layer]) for layer in layers)


def linear_shapes(transformer: Shapes) -> dict[str, tuple[int, ...]]:
    """[out, in] of the linear layers' weights, by module."""
    return {n.removesuffix(".weight"): s for n, s in transformer.items() if n.endswith(".weight") and len(s) == 2}


def _is_product(name: str, shape: tuple[int, ...]) -> bool:
    """Whether it is the weight of a linear layer that is quantised."""
    return name.endswith(".weight") and len(shape) == 2 and all(side % MULTIPLE == 0 for side in shape)
