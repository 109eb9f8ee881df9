"""Memory that sampling takes, and whether its blocks must be streamed from the host for it. No torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ltx_core.engine.plan import usable_bytes
from ltx_core.errors import OutOfMemory

GIB = 2**30
BLOCKS = "transformer_blocks."
VECTORS_A_TOKEN = 40
"""Vectors of the model's width that a forward holds for a token at most: those of the feed-forward, four times as wide,
twice, and of the modulation, the residual stream and attention around them. A bound, not a measurement."""
SLOTS = 2
"""Streamed blocks that are on the device at once."""
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class RenderMemory:
    """Bytes on the device at most."""

    whole: int
    """With all weights there."""
    streamed: int
    """With the blocks' weights in host memory."""
    num_blocks: int

    def streamed_blocks(self, budget_bytes: int) -> int:
        """Blocks to stream: none if everything fits, else all.

        Raises:
            OutOfMemory: not even so.
        """
        if self.whole <= budget_bytes:
            return 0
        if self.streamed > budget_bytes:
            raise OutOfMemory(
                f"rendering takes {self.streamed / GIB:.1f} GiB with all blocks streamed from the host and "
                f"{budget_bytes / GIB:.1f} can be had; lower render_validation's width, height or num_frames"
            )
        return self.num_blocks


def render_memory(transformer: Shapes, num_tokens: int, item_bytes: int) -> RenderMemory:
    """What a transformer of these shapes takes to render `num_tokens` video tokens at once."""
    sizes = {name: math.prod(shape) * item_bytes for name, shape in transformer.items()}
    blocks = sum(size for name, size in sizes.items() if name.startswith(BLOCKS))
    num_blocks = 1 + max(int(name.removeprefix(BLOCKS).split(".")[0]) for name in sizes if name.startswith(BLOCKS))
    activations = VECTORS_A_TOKEN * transformer["proj_in.weight"][0] * item_bytes * num_tokens
    whole = sum(sizes.values()) + activations
    return RenderMemory(whole, whole - blocks + SLOTS * blocks // num_blocks, num_blocks)


def described(found: RenderMemory, gpu_gib: float) -> str:
    """For people: what it takes of a card of that size, and how it keeps within.

    Raises:
        OutOfMemory: it cannot.
    """
    if found.streamed_blocks(usable_bytes(gpu_gib)):
        return (
            f"{gpu_gib:g} GiB card: at most {found.whole / GIB:.1f} GiB, so that blocks are streamed from host memory, "
            f"which takes at most {found.streamed / GIB:.1f}"
        )
    return f"{gpu_gib:g} GiB card: at most {found.whole / GIB:.1f} GiB"
