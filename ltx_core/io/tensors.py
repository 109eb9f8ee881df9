"""Tensors in safetensors files: read whole, and written so that the bytes depend on their content alone.

The library's writer puts header strings in an order that changes from run to run, so equal LoRAs would have unequal
digests. This one sorts them; any safetensors reader reads the result.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ltx_core.errors import CheckpointError
from ltx_core.io.atomic import atomic_path
from ltx_core.io.safetensors import read_header

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Dtypes that are read and written, by the format's names."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}
SUMMED = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
ALIGNMENT = 8


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and header strings, whole or not at all; the same input gives the same bytes.

    Raises:
        StorageError: the disk is full or read-only.
    """
    with atomic_path(path) as partial, partial.open("wb") as file:
        header = _header(tensors, metadata)
        file.write(struct.pack("<Q", len(header)))
        file.write(header)
        for name in sorted(tensors):
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and header strings of a file.

    Raises:
        CheckpointError: the file is missing, torn, no safetensors file, or has tensors of a dtype that is not read.
    """
    header = read_header(path)
    tensors = {}
    with path.open("rb") as file:
        for name in sorted(header.tensors):
            entry = header.tensors[name]
            flat = torch.empty(entry.end - entry.begin, dtype=torch.uint8)
            file.seek(entry.begin)
            if file.readinto(flat.numpy().data) != len(flat):
                raise CheckpointError(f"{path} ends inside {name}; copy or make it again")
            tensors[name] = flat.view(torch_dtype(path, name, entry.dtype)).view(entry.shape)
    return tensors, dict(header.metadata)


def finite_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file that must not hold NaN or infinity.

    Raises:
        CheckpointError: as for `read_tensors`, or a number is not finite; names the tensor.
    """
    tensors, _ = read_tensors(path)
    if broken := not_finite(tensors.items()):
        raise CheckpointError(f"{path} holds NaN or infinity in {broken[0]}; remove it, so that an older one is used")
    return tensors


def not_finite(named: Iterable[tuple[str, torch.Tensor]]) -> list[str]:
    """Names of the floating-point tensors that hold NaN or infinity: of others' sum, or exactly where that overflows.

    A sum costs as much as a copy on the CPU, a tenth of what asking each number does.
    """
    return [name for name, tensor in named if _is_summed(tensor) and not _is_finite(tensor)]


def extremes(tensor: torch.Tensor) -> torch.Tensor | None:
    """Least and largest number [2], NaN if one is, left on the device so that nothing waits for it; None for tensors of
    no floating-point numbers."""
    return torch.stack(torch.aminmax(tensor)) if _is_summed(tensor) else None


def torch_dtype(path: Path, name: str, stored: str) -> torch.dtype:
    """PyTorch's dtype of what the format calls `stored`.

    Raises:
        CheckpointError: it is not read; names the tensor.
    """
    if stored not in DTYPES:
        raise CheckpointError(f"{path} has {name} as {stored}; {', '.join(DTYPES)} are read")
    return DTYPES[stored]


def _is_summed(tensor: torch.Tensor) -> bool:
    return tensor.dtype in SUMMED and tensor.numel() > 0


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def _header(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % ALIGNMENT)
