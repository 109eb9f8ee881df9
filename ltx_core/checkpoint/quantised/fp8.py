"""fp8: e4m3 values, and a scalar float32 scale for each weight that is not a plain cast.

value = float32(e4m3) * weight_scale, as Lightricks' inference dequantises (fp8_cast). `input_scale` is for matrix
products in fp8 and has no part in the weight's value.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltx_core.checkpoint.quantised.reader import Reader
from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.errors import CheckpointError

if TYPE_CHECKING:
    import torch

DTYPE = "F8_E4M3"
SCALARS = ((), (1,))


@dataclass(frozen=True)
class Fp8Weight:
    """One fp8 weight or bias."""

    values: StoredTensor
    scale: StoredTensor | None
    """Scalar; None for a plain cast, whose scale is 1."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def begin(self) -> int:
        return self.values.entry.begin

    def read(self, reader: Reader) -> "torch.Tensor":
        return reader.wanted(self.values, None if self.scale is None else reader.exact(self.scale))


def fp8_weight(values: StoredTensor, scale: StoredTensor | None) -> Fp8Weight:
    """Put the two together.

    Raises:
        CheckpointError: the scale is not one number in float32.
    """
    if scale is not None and (scale.dtype != "F32" or scale.shape not in SCALARS):
        raise CheckpointError(
            f"{scale.path} has the scale {scale.name} as {scale.dtype} {list(scale.shape)}; one number in F32 is "
            "wanted. Give the fp8 or bf16 file that Lightricks published."
        )
    return Fp8Weight(values, scale)
