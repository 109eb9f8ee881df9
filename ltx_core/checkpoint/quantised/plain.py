"""Weights that are stored as what they are: float32, bfloat16 and the like."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltx_core.checkpoint.quantised.reader import Reader
from ltx_core.checkpoint.stored import StoredTensor

if TYPE_CHECKING:
    import torch

DTYPES = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True)
class PlainWeight:
    """One tensor of a file."""

    values: StoredTensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def begin(self) -> int:
        return self.values.entry.begin

    def read(self, reader: Reader) -> "torch.Tensor":
        return reader.wanted(self.values)
