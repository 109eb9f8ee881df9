"""Safetensors files whose bytes depend on their content alone.

The library's writer puts header strings in an order that changes from run to run, so equal LoRAs would have unequal
digests. This one sorts them; any safetensors reader reads the result.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ltx_core.errors import CheckpointError
from ltx_core.files.atomic import atomic_path

DTYPE_NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e4m3fn: "F8_E4M3",
}
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
        CheckpointError: the file is missing, torn, or no safetensors file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; a .safetensors file is wanted")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in sorted(file.keys())}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no whole .safetensors file ({error}); copy or make it again") from error


def finite_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file that must not hold NaN or infinity.

    Raises:
        CheckpointError: as for `read_tensors`, or a number is not finite; names the tensor.
    """
    tensors, _ = read_tensors(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path} holds NaN or infinity in {name}; remove it, so that an older one is used")
    return tensors


def _header(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % ALIGNMENT)
