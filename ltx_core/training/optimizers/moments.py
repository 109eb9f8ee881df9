"""How a moment is stored between steps: bfloat16, or 8 bits with a scale for every 256 values."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from ltx_core.training.optimizers.rounding import stochastic_bf16

BLOCK = 256
"""Values that share a scale; parameters begin at a multiple of it."""


class MomentStore(Protocol):
    """A flat moment [N], read and written in parts that begin and end at multiples of `BLOCK`."""

    def read(self, part: slice) -> Tensor:
        """Float32 values of a part."""

    def write(self, part: slice, values: Tensor, generator: torch.Generator) -> None:
        """Store a part, rounding by chance."""

    def tensors(self, part: slice) -> dict[str, Tensor]:
        """What is stored of a part, by a name's ending."""

    def restore(self, part: slice, stored: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""


class Bf16Moment:
    """2 bytes a value."""

    endings = ("",)

    def __init__(self, size: int, device: torch.device) -> None:
        self.values = torch.zeros(size, dtype=torch.bfloat16, device=device)

    def read(self, part: slice) -> Tensor:
        """Float32 values of a part."""
        return self.values[part].float()

    def write(self, part: slice, values: Tensor, generator: torch.Generator) -> None:
        """Store a part, rounding by chance: a decay of 0.999 moves a value by less than bfloat16 resolves."""
        self.values[part] = stochastic_bf16(values, generator)

    def tensors(self, part: slice) -> dict[str, Tensor]:
        """The values."""
        return {"": self.values[part]}

    def restore(self, part: slice, stored: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.values[part] = stored[""].to(self.values.device)


class BlockwiseMoment:
    """A byte a value: an index into a fixed table of numbers in [-1, 1], times the largest value of its block.

    Source of table and blocks: Dettmers et al., arXiv 2110.02861. Ours rounds by chance between the two nearest
    entries, where theirs takes the nearest and so loses changes below half a step of the table.
    """

    endings = ("", "_scale")

    def __init__(self, size: int, device: torch.device, *, signed: bool) -> None:
        self.signed = signed
        self.table = dynamic_table(signed=signed).to(device)
        self.codes = torch.full((size,), zero_code(self.table), dtype=torch.uint8, device=device)
        self.scales = torch.zeros(size // BLOCK, device=device)

    def read(self, part: slice) -> Tensor:
        """Float32 values of a part."""
        return (self.table[self.codes[part].int()].view(-1, BLOCK) * self.scales[_blocks(part), None]).view(-1)

    def write(self, part: slice, values: Tensor, generator: torch.Generator) -> None:
        """Store a part, rounding by chance.

        A second moment above zero never becomes zero: the step would divide by it.
        """
        blocks = values.view(-1, BLOCK)
        scales = blocks.abs().amax(dim=1)
        relative = (blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).view(-1)
        upper = torch.bucketize(relative, self.table, out_int32=True).clamp_(1, len(self.table) - 1)
        low, high = self.table[upper - 1], self.table[upper]
        chance = torch.rand(relative.shape, generator=generator, device=relative.device)
        codes = upper - (chance >= (relative - low) / (high - low)).int()
        if not self.signed:
            codes = torch.where(relative > 0, codes.clamp(min=1), codes)
        self.codes[part] = codes.to(torch.uint8)
        self.scales[_blocks(part)] = scales

    def tensors(self, part: slice) -> dict[str, Tensor]:
        """Indexes and scales."""
        return {"": self.codes[part], "_scale": self.scales[_blocks(part)]}

    def restore(self, part: slice, stored: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.codes[part] = stored[""].to(self.codes.device)
        self.scales[_blocks(part)] = stored["_scale"].to(self.scales.device)


def dynamic_table(*, signed: bool) -> Tensor:
    """256 ascending numbers in [-1, 1] or [0, 1]: seven decades, each lower one with half the entries of the next."""
    entries = [0.0, 1.0]
    for decade in range(7):
        edges = torch.linspace(0.1, 1.0, 2 ** (decade + (0 if signed else 1)) + 1, dtype=torch.float64)
        middles = ((edges[1:] + edges[:-1]) / 2 * 10.0 ** (decade - 6)).tolist()
        entries += middles + ([-middle for middle in middles] if signed else [])
    return torch.tensor(sorted(entries))


def zero_code(table: Tensor) -> int:
    """Index of 0 in a table."""
    return int((table == 0).nonzero().item())


def _blocks(part: slice) -> slice:
    return slice(part.start // BLOCK, part.stop // BLOCK)
