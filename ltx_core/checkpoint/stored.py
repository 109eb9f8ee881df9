"""Weights as files keep them: plain, fp8, or nvfp4 with scales. No torch; `ltx_core/checkpoint/read.py` reads them.

fp8: value = float32(e4m3) * weight_scale, as Lightricks' inference dequantises (fp8_cast). `input_scale` is for matrix
products in fp8 and has no part in the weight's value.

nvfp4: two e2m1 values a byte, an e4m3 scale for each 16 inputs, a float32 scale for the tensor.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from ltx_core.errors import CheckpointError
from ltx_core.io.digest import changed, weights_digest
from ltx_core.io.safetensors import TensorEntry, read_header
from ltx_core.progress import Progress

PLAIN, FP8, PACKED = ("F32", "F16", "BF16", "F64"), "F8_E4M3", "U8"
"""Dtypes of values that are stored as what they are, in fp8, and in nvfp4."""
BLOCK = 16
"""Inputs that share an nvfp4 scale."""
TILE_ROWS, TILE_COLUMNS = 128, 4
"""Block scales of nvfp4 lie in tiles, and are padded to whole ones."""
SCALE, TENSOR_SCALE, INPUT_SCALE = "_scale", "_scale_2", ".input_scale"
"""Names of scales beside `<module>.weight`: `weight_scale`, `weight_scale_2` and `input_scale`."""


class StoredTensor(NamedTuple):
    """One tensor of one file."""

    path: Path
    name: str
    """As the file spells it, for messages."""
    entry: TensorEntry

    @property
    def dtype(self) -> str:
        """As the format spells it."""
        return self.entry.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As stored; packed values count once for each byte."""
        return self.entry.shape


def tensors_of(*paths: Path) -> dict[str, StoredTensor]:
    """All tensors of some files, by the names that the files give them.

    Raises:
        CheckpointError: a file cannot be read.
    """
    return {
        name: StoredTensor(path, name, entry) for path in paths for name, entry in read_header(path).tensors.items()
    }


def tensors_digest(path: Path, tensors: Iterable[tuple[str, StoredTensor]], progress: Progress, file: BinaryIO) -> str:
    """BLAKE3 over names, dtypes, shapes and bytes of some tensors of an opened file, see `weights_digest`.

    Raises:
        ChangedError: the file is another than the one whose header said where they lie.
        CheckpointError: it ends inside one.
    """
    tensors, header = list(tensors), read_header(path)
    if any(header.tensors.get(stored.name) != stored.entry for _, stored in tensors):
        raise changed(path)
    size = os.fstat(file.fileno()).st_size
    if cut := [stored.name for _, stored in tensors if stored.entry.end > size]:
        raise CheckpointError(f"{path} ends inside {cut[0]}; copy or download the file again")
    head = json.dumps([[name, stored.dtype, stored.shape] for name, stored in tensors]).encode()
    spans = [(stored.entry.begin, stored.entry.end) for _, stored in tensors]
    return weights_digest(path, file, spans, head=head, progress=progress)


@dataclass(frozen=True)
class PlainWeight:
    """A tensor of a file that is stored as what it is or in fp8."""

    values: StoredTensor
    scale: StoredTensor | None = None
    """One float32 number that fp8 values are multiplied by; None for a plain cast, whose scale is 1."""
    gate: StoredTensor | None = None
    """One number a row, that the rows are multiplied by in float32; None for most."""

    def __post_init__(self) -> None:
        """Raises CheckpointError if the scale is not one number in float32."""
        scale = self.scale
        if scale is not None and (scale.dtype != "F32" or scale.shape not in ((), (1,))):
            raise CheckpointError(
                f"{scale.path} has the scale {scale.name} as {scale.dtype} {list(scale.shape)}; one number in F32 is "
                "wanted. Give the fp8 or bf16 file that Lightricks published."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Once it is read."""
        return self.values.shape


@dataclass(frozen=True)
class Nvfp4Weight:
    """A weight [out, in] in nvfp4."""

    values: StoredTensor
    """uint8 [out, in / 2], the even element in the high nibble."""
    block_scales: StoredTensor
    """e4m3 in tiles, padded."""
    tensor_scale: StoredTensor

    def __post_init__(self) -> None:
        """Raises CheckpointError if the three are not of one weight: dtypes or sizes do not go together."""
        values, blocks, scale = self.values, self.block_scales, self.tensor_scale
        if len(values.shape) != 2 or self.shape[1] % BLOCK:
            raise CheckpointError(
                f"{values.path} has the packed weight {values.name} as {list(values.shape)}; [out, in / 2] with whole "
                f"blocks of {BLOCK} inputs is wanted"
            )
        rows, columns = self.shape[0], self.shape[1] // BLOCK
        padded = num_tiles(rows, TILE_ROWS) * TILE_ROWS, num_tiles(columns, TILE_COLUMNS) * TILE_COLUMNS
        found = (blocks.dtype, blocks.shape, scale.dtype, scale.shape)
        if found not in [(FP8, padded, "F32", shape) for shape in ((), (1,))]:
            raise CheckpointError(
                f"{values.path} has the scales of {values.name} as {blocks.dtype} {list(blocks.shape)} and "
                f"{scale.dtype} {list(scale.shape)}; {FP8} {list(padded)} and one number in F32 are wanted. Give the "
                "fp4 or bf16 file that Lightricks published."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Once it is read."""
        rows, half = self.values.shape
        return rows, 2 * half


def num_tiles(count: int, size: int) -> int:
    """Tiles of so many rows or columns that cover `count` of them."""
    return -(-count // size)


Weight = PlainWeight | Nvfp4Weight
"""One tensor of a module, however many tensors of a file it takes."""
Scheme = Literal["unquantised", "fp8", "fp4"]


def scheme_of(weights: Iterable[Weight]) -> Scheme:
    """The storage of a component, by its smallest weights; a quantised one has unquantised weights too."""
    dtypes = {weight.values.dtype for weight in weights}
    return "fp4" if PACKED in dtypes else "fp8" if FP8 in dtypes else "unquantised"


def grouped(tensors: Mapping[str, StoredTensor]) -> dict[str, Weight]:
    """Weights by the name of their values. Scales of quantised weights are part of them and have no name of their own.

    A scale beside a weight that is not quantised stays, and is found unknown when the module is filled.

    Raises:
        CheckpointError: a tensor is of a kind that no scheme here reads; names it.
    """
    quantised = [name for name, stored in tensors.items() if stored.dtype in (FP8, PACKED)]
    scales = {scale for name in quantised for scale in _scales(name) if scale in tensors}
    return {name: _weight(name, tensors) for name in tensors if name not in scales}


def _scales(name: str) -> tuple[str, ...]:
    if not name.endswith(".weight"):
        return ()
    return name + SCALE, name + TENSOR_SCALE, name.removesuffix(".weight") + INPUT_SCALE


def _weight(name: str, tensors: Mapping[str, StoredTensor]) -> Weight:
    values, scale, tensor_scale = tensors[name], tensors.get(name + SCALE), tensors.get(name + TENSOR_SCALE)
    if values.dtype in PLAIN:
        return PlainWeight(values)
    if values.dtype == FP8 and tensor_scale is None:
        return PlainWeight(values, scale)
    if values.dtype == PACKED and scale is not None and tensor_scale is not None:
        return Nvfp4Weight(values, scale, tensor_scale)
    raise CheckpointError(
        f"{values.path} has the tensor {values.name} as {values.dtype}, which no supported scheme explains: bf16, "
        "fp8 (e4m3, with one `weight_scale` or none) and nvfp4 (with `weight_scale` and `weight_scale_2`) can be "
        "read. Give the bf16 file of this model."
    )
