"""A manifest: the rows one stage hands to the next, in one Parquet file that is whole if it exists."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Generic, TypeVar

import pyarrow as pa

from datasets_spec.errors import damaged
from datasets_spec.record import Record
from datasets_spec.sealed_table import arrow_schema, read_sealed

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
