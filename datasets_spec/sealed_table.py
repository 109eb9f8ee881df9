"""Parquet tables of typed rows: their schema from the row type, and the digest of their own bytes in the file.

The pages' own checksums, which Parquet offers, leave out the footer: names, types, counts and metadata. So a digest of
the whole file, taken with zeros in its place, stands in the file's metadata. It is compared before Arrow sees a byte.
Any Parquet reader reads such a file.
"""

import hashlib
import io
import types
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_spec.errors import damaged
from datasets_spec.record import Record

SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def arrow_type(annotation: Any) -> pa.DataType:
    """Arrow type of one annotation.

    Raises:
        TypeError: the annotation is none of the kinds a row may hold.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        (inner,) = [a for a in arguments if a is not type(None)]
        return arrow_type(inner)
    if origin is list or origin is tuple:
        return pa.list_(arrow_type(arguments[0]))
    if origin is Literal:
        return pa.string()
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return pa.string()
    if annotation in SCALARS:
        return SCALARS[annotation]
    raise TypeError(
        f"a row cannot hold {annotation!r}; use str, int, float, bool, an enum, a Literal, a list or tuple of these"
    )


def arrow_schema(record: type[Record]) -> pa.Schema:
    """A field for each field of the row, in order."""
    return pa.schema([pa.field(name, arrow_type(field.annotation)) for name, field in record.model_fields.items()])


SEAL = "ltx2.file_sha256"
DIGITS = 64
EMPTY = b"0" * DIGITS
LEAD = SEAL.encode() + b"\x18" + bytes([DIGITS])
"""Bytes that precede the digest in the footer: the key, then Thrift's header of a string of that length."""


def sealed(table: pa.Table) -> bytes:
    """The table as a Parquet file that carries its own digest. The same table gives the same bytes."""
    made = io.BytesIO()
    metadata = {**(table.schema.metadata or {}), SEAL.encode(): EMPTY}
    pq.write_table(table.replace_schema_metadata(metadata), made)
    data = made.getvalue()
    place = data.rindex(LEAD + EMPTY) + len(LEAD)
    return data[:place] + hashlib.sha256(data).hexdigest().encode() + data[place + DIGITS :]


def read_sealed(path: Path) -> pa.Table:
    """The table that `sealed` was given.

    Raises:
        DamagedError: the file is gone, or has other bytes than were written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise damaged(path, "it is gone") from error
    lead = data.rfind(LEAD)
    place = lead + len(LEAD)
    if lead < 0:
        raise damaged(path, f"its {len(data)} bytes hold no digest, so it is torn or of an earlier version")
    found, stored = hashlib.sha256(data[:place]), data[place : place + DIGITS]
    found.update(EMPTY)
    found.update(data[place + DIGITS :])
    if stored != found.hexdigest().encode():
        raise damaged(path, "its bytes are not those that were written")
    # Arrow's threads may still start while a short process ends, which then aborts; a table is small.
    table = pq.read_table(pa.BufferReader(data), use_threads=False)
    kept = {name: value for name, value in (table.schema.metadata or {}).items() if name != SEAL.encode()}
    return table.replace_schema_metadata(kept or None)
