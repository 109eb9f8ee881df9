"""Manifests, the rows that one stage hands to the next; and the Parquet files they are, which carry their own digest.

The pages' own checksums, which Parquet offers, leave out the footer: names, types, counts and metadata. So a digest of
the whole file, taken with zeros in its place, stands in the file's metadata. It is compared before Arrow sees a byte.
Any Parquet reader reads such a file.
"""

import hashlib
import io
import json
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_spec.errors import damaged
from datasets_spec.rows import Record

R = TypeVar("R", bound=Record)
SCHEMA_VERSION = 1
DIGEST = "ltx2.digest"
"""Names the rows' content, in the metadata of their table."""


@dataclass(frozen=True)
class Manifest(Generic[R]):
    """A path plus the row type to expect there."""

    path: Path
    record: type[R]

    @cached_property
    def header(self) -> dict[str, str]:
        """The writer's description of the file: record name, schema version, digest.

        Raises:
            DamagedError: the file has other bytes than were written, or is gone; it holds other rows than `record`, or
                those of another schema version.
        """
        return self._checked_header(read_sealed(self.path))

    def table(self) -> pa.Table:
        """The rows as Arrow has them.

        Raises:
            DamagedError: as for `header`; looked at each time.
        """
        table = read_sealed(self.path)
        self._checked_header(table)
        return table

    def _checked_header(self, table: pa.Table) -> dict[str, str]:
        stored = table.schema.metadata or {}
        header = {k.decode(): v.decode() for k, v in stored.items() if k.startswith(b"ltx2.")}
        found = (header.get("ltx2.record"), header.get("ltx2.schema_version"))
        wanted = (self.record.__name__, str(SCHEMA_VERSION))
        if found != wanted:
            raise damaged(
                self.path,
                f"it holds {found[0]} rows at schema version {found[1]}, and {wanted[0]} at {wanted[1]} are wanted",
            )
        return header

    @property
    def digest(self) -> str:
        """Names the content of the rows, whatever their locations; what a later stage's key is made of."""
        return self.header[DIGEST]

    def __iter__(self) -> Iterator[R]:
        """Every row, in the order of their keys.

        Raises:
            DamagedError: as for `header`; looked at each time.
        """
        for batch in self.table().to_batches():
            for row in batch.to_pylist():
                yield self.record.model_validate(row)

    def __len__(self) -> int:
        return int(self.table().num_rows)

    def exists(self) -> bool:
        return self.path.exists()


def manifest_table(record: type[R], rows: Iterable[R]) -> pa.Table:
    """The rows of a manifest, sorted by their key, with what its header says of them.

    Raises:
        ValueError: two rows have the same key.
    """
    ordered = sorted(rows, key=lambda row: row.key)
    keys = [row.key for row in ordered]
    if twice := sorted({a for a, b in pairwise(keys) if a == b}):
        raise ValueError(f"{len(twice)} {record.__name__} keys occur twice, {twice[0]} among them")
    metadata = {
        "ltx2.record": record.__name__,
        "ltx2.schema_version": str(SCHEMA_VERSION),
        DIGEST: rows_digest(ordered),
    }
    schema = arrow_schema(record).with_metadata(metadata)
    return pa.Table.from_pylist([row.model_dump(mode="json") for row in ordered], schema=schema)


def rows_digest(rows: Iterable[Record]) -> str:
    """SHA-256 over the rows' contents as canonical JSON, one a line, in the order of their keys; 32 hex digits."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.key):
        digest.update(json.dumps(row.content(), sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()[:32]


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
