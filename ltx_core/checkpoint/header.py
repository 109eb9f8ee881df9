"""The header of a safetensors file, read without torch: names, shapes and metadata, never weights."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ltx_core.errors import CheckpointError

LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000
"""The format's own limit; a larger number is no header length but the first bytes of some other kind of file."""


class TensorEntry(NamedTuple):
    """One tensor of the file."""

    dtype: str
    """As the format spells it: F32, BF16, F8_E4M3, U8."""
    shape: tuple[int, ...]
    begin: int
    """First byte in the file."""
    end: int
    """One past the last byte in the file."""


@dataclass(frozen=True)
class SafetensorsHeader:
    """What the file says of itself before its weights."""

    path: Path
    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


def read_header(path: Path) -> SafetensorsHeader:
    """Read the header and hold it against the file's size.

    Raises:
        CheckpointError: there is no such file, it is not safetensors, or its end is missing.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is no file; a .safetensors file is wanted. Check the path.")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES)
        length = struct.unpack("<Q", start)[0] if len(start) == LENGTH_BYTES else 0
        if not 2 <= length <= min(size - LENGTH_BYTES, MOST_HEADER_BYTES):
            raise CheckpointError(
                f"{path} ({size} bytes) does not start like a safetensors file. Give a .safetensors file, or download "
                "it again if its start is damaged."
            )
        raw = file.read(length)
    return _parsed(path, raw, size)


def _parsed(path: Path, raw: bytes, size: int) -> SafetensorsHeader:
    try:
        content: dict[str, Any] = json.loads(raw)
        metadata = content.pop("__metadata__", {})
        data = LENGTH_BYTES + len(raw)
        tensors = {
            name: TensorEntry(
                entry["dtype"],
                tuple(entry["shape"]),
                data + entry["data_offsets"][0],
                data + entry["data_offsets"][1],
            )
            for name, entry in content.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} has no readable safetensors header ({error}). Give another file, or download it again."
        ) from error
    wanted = max((entry.end for entry in tensors.values()), default=data)
    if size < wanted:
        raise CheckpointError(
            f"{path} is torn: it is {size} bytes and its header promises {wanted}. Download or copy it again."
        )
    return SafetensorsHeader(path, tensors, metadata)
