"""nvfp4: two e2m1 values a byte, an e4m3 scale for each 16 inputs, a float32 scale for the tensor.

value = e2m1 * (block scale * tensor scale), the two scales multiplied first. The even element is in the high nibble.
Block scales lie in the order that cuBLAS wants: tiles of 128 rows x 4 columns, the rows of a tile in four groups of 32
that are interleaved, rows and columns padded to whole tiles (Lightricks' NVFP4 document).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ltx_core.checkpoint.quantised.reader import Reader
from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.errors import CheckpointError

if TYPE_CHECKING:
    import torch

DTYPE = "U8"
BLOCK = 16
TILE_ROWS, TILE_COLUMNS, GROUPS = 128, 4, 4
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""Values of the 16 codes: a sign bit, two bits of exponent, one of mantissa."""


@dataclass(frozen=True)
class Nvfp4Weight:
    """One weight [out, in]."""

    packed: StoredTensor
    """uint8 [out, in / 2]."""
    block_scales: StoredTensor
    """e4m3, swizzled and padded."""
    tensor_scale: StoredTensor

    @property
    def shape(self) -> tuple[int, ...]:
        rows, half = self.packed.shape
        return rows, 2 * half

    @property
    def begin(self) -> int:
        return self.packed.entry.begin

    def read(self, reader: Reader) -> "torch.Tensor":
        rows, columns = self.shape
        packed = reader.raw(self.packed)
        scales = unswizzled(reader.exact(self.block_scales), rows, columns // BLOCK)
        scales = scales * reader.exact(self.tensor_scale).reshape(())
        codes = scales.new_tensor(E2M1)
        values = scales.new_empty(rows, columns // 2, 2)
        values[..., 0] = codes[(packed >> 4).int()]
        values[..., 1] = codes[(packed & 15).int()]
        return reader.cast(values.view(rows, -1, BLOCK).mul_(scales[..., None]).view(rows, columns))


def unswizzled(scales: "torch.Tensor", rows: int, columns: int) -> "torch.Tensor":
    """Block scales [rows, columns] in plain order, without the padding."""
    tiles = scales.reshape(-1, _tiles(columns, TILE_COLUMNS), TILE_ROWS // GROUPS, GROUPS, TILE_COLUMNS)
    plain = tiles.permute(0, 3, 2, 1, 4).reshape(_tiles(rows, TILE_ROWS) * TILE_ROWS, -1)
    return plain[:rows, :columns]


def nvfp4_weight(packed: StoredTensor, block_scales: StoredTensor, tensor_scale: StoredTensor) -> Nvfp4Weight:
    """Put the three together.

    Raises:
        CheckpointError: they are not of one weight: dtypes or sizes do not go together.
    """
    weight = Nvfp4Weight(packed, block_scales, tensor_scale)
    if len(packed.shape) != 2 or weight.shape[1] % BLOCK:
        raise CheckpointError(
            f"{packed.path} has the packed weight {packed.name} as {list(packed.shape)}; [out, in / 2] with whole "
            f"blocks of {BLOCK} inputs is wanted"
        )
    rows, columns = weight.shape[0], weight.shape[1] // BLOCK
    padded = _tiles(rows, TILE_ROWS) * TILE_ROWS, _tiles(columns, TILE_COLUMNS) * TILE_COLUMNS
    found = (block_scales.dtype, block_scales.shape, tensor_scale.dtype, tensor_scale.shape)
    if found not in [("F8_E4M3", padded, "F32", shape) for shape in ((), (1,))]:
        raise CheckpointError(
            f"{packed.path} has the scales of {packed.name} as {block_scales.dtype} {list(block_scales.shape)} and "
            f"{tensor_scale.dtype} {list(tensor_scale.shape)}; F8_E4M3 {list(padded)} and one number in F32 are "
            "wanted. Give the fp4 or bf16 file that Lightricks published."
        )
    return weight


def _tiles(count: int, size: int) -> int:
    return -(-count // size)
