"""The header of safetensors, read by the format's own rules and without torch: names, shapes, metadata, never weights.

The one reader of such headers: of base models, adapters, checkpoints, sampled latents, and samples inside shards. The
format (github.com/huggingface/safetensors, README, "Format"): 8 bytes, the header's length N as a little-endian number;
N bytes of UTF-8 that begin with `{`, a JSON object padded with spaces, in which no key occurs twice; then the data,
which the tensors' offsets cover wholly, without hole, overlap or rest.

Why so: docs/decisions/strict_readers.md.
"""

import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ltx_core.errors import CheckpointError
from ltx_core.io.json_file import parse_object

LENGTH_BYTES = 8
MOST_HEADER_BYTES = 100_000_000
"""The format's own limit; a larger number is no header length but the first bytes of some other kind of file."""
METADATA = "__metadata__"
LARGEST = 2**63
"""No count of elements or bytes is as large."""
BITS = re.compile(r"(?:[UIFC]|BF)(\d+)(?:_E\d+M\d+(?:FNUZ)?)?")
"""Dtypes name their size, as in F8_E4M3; BOOL alone does not and takes a byte."""


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
    """The file's own description, before its weights."""

    path: Path
    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]


class _Fault(ValueError):
    """The fault of a header, as a clause."""


def read_header(path: Path) -> SafetensorsHeader:
    """Read the header and hold it against the file's size.

    Raises:
        CheckpointError: there is no such file, it cannot be read, it breaks a rule of the format, or its end is
            missing.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is no file; a .safetensors file is wanted. Check the path.")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = _header_length(file.read(LENGTH_BYTES), size)
            raw = b"" if length is None else file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
    if length is None:
        raise CheckpointError(
            f"{path} ({size} bytes) does not start like a safetensors file. Give a .safetensors file, or download "
            "it again if its start is damaged."
        )
    return _checked(path, raw, size)


def header_of(data: memoryview, path: Path) -> SafetensorsHeader:
    """The header of safetensors that lie in memory, such as a sample in a shard; `path` stands for them in messages.

    Raises:
        CheckpointError: as for `read_header`.
    """
    length = _header_length(bytes(data[:LENGTH_BYTES]), len(data))
    if length is None:
        raise CheckpointError(f"{path} holds {len(data)} bytes that do not start like safetensors; make it again")
    return _checked(path, bytes(data[LENGTH_BYTES : LENGTH_BYTES + length]), len(data))


def _header_length(start: bytes, size: int) -> int | None:
    """Bytes of the header; None if there can be no such header in `size` bytes."""
    length = struct.unpack("<Q", start)[0] if len(start) == LENGTH_BYTES else 0
    return length if 2 <= length <= min(size - LENGTH_BYTES, MOST_HEADER_BYTES) else None


def _checked(path: Path, raw: bytes, size: int) -> SafetensorsHeader:
    try:
        if not raw.startswith(b"{"):
            raise _Fault("it does not begin with a brace")
        content = parse_object(raw)
        metadata = _metadata(content.pop(METADATA, {}))
        start = LENGTH_BYTES + len(raw)
        tensors = {name: _entry(name, entry, start) for name, entry in content.items()}
    except ValueError as error:
        raise CheckpointError(
            f"{path} has no readable safetensors header ({error}). Give another file, or download it again."
        ) from error
    wanted = max((entry.end for entry in tensors.values()), default=start)
    if size < wanted:
        raise CheckpointError(
            f"{path} is torn: it is {size} bytes and its header promises {wanted}. Download or copy it again."
        )
    if fault := _cover_fault(tensors, start, size):
        raise CheckpointError(
            f"{path} has a safetensors header that breaks the format's rules: {fault}. Give another file, or download "
            "it again."
        )
    return SafetensorsHeader(path, tensors, metadata)


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _Fault(f"its {METADATA} is not an object of strings")
    return value


def _entry(name: str, entry: Any, start: int) -> TensorEntry:
    """One tensor, its offsets counted from the file's first byte."""
    if not isinstance(entry, dict) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        raise _Fault(f"{name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _Fault(f"{name!r} has shape {_shown(shape)} and data_offsets {_shown(offsets)}, whole numbers are wanted")
    begin, end = offsets
    if math.prod(size for size in shape if size) >= LARGEST:
        raise _Fault(f"{name!r} has shape {_shown(shape)}, which is more than memory can address")
    bits = _bits(name, dtype) * math.prod(shape)
    if bits % 8 or bits // 8 != end - begin:
        raise _Fault(f"{name!r} is {dtype} {shape} and has {end - begin} bytes, not {bits / 8:g}")
    return TensorEntry(dtype, tuple(shape), start + begin, start + end)


def _are_counts(value: Any) -> bool:
    """Return whether it is a list of whole numbers that a file can hold; True is none."""
    return isinstance(value, list) and all(type(number) is int and 0 <= number < LARGEST for number in value)


def _bits(name: str, dtype: Any) -> int:
    if dtype == "BOOL":
        return 8
    found = BITS.fullmatch(dtype) if isinstance(dtype, str) else None
    if found is None or int(found[1]) not in (4, 6, 8, 16, 32, 64):
        raise _Fault(f"{name!r} has the unknown dtype {_shown(dtype)}")
    return int(found[1])


def _shown(value: Any) -> str:
    return repr(value)[:60]


def _cover_fault(tensors: Mapping[str, TensorEntry], start: int, size: int) -> str:
    """Return what keeps the tensors from covering the data wholly, each byte once; an empty string if nothing."""
    ordered = sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end))
    spans = [("the header", start, start), *((repr(n), e.begin, e.end) for n, e in ordered), ("the end", size, size)]
    for (before, _, end), (name, begin, _) in pairwise(spans):
        if begin != end:
            what = "overlap" if begin < end else f"leave {begin - end} bytes between them that belong to no tensor"
            return f"{before} and {name} {what}"
    return ""
