"""Parquet files that name the SHA-256 of their own bytes, so that no changed bit is ever read as other rows.

The pages' own checksums, which Parquet offers, leave out the footer: names, types, counts and metadata. So a digest of
the whole file, taken with zeros in its place, stands in the file's metadata. It is compared before Arrow sees a byte.
Any Parquet reader reads such a file.
"""

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_spec.errors import damaged

SEAL = "ltx2.file_sha256"
DIGITS = 64
EMPTY = b"0" * DIGITS
LEAD = SEAL.encode() + b"\x18" + bytes([DIGITS])
"""What precedes the digest in the footer: the key, then Thrift's header of a string of that length."""


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
    table = pq.read_table(pa.BufferReader(data))
    kept = {name: value for name, value in (table.schema.metadata or {}).items() if name != SEAL.encode()}
    return table.replace_schema_metadata(kept or None)
