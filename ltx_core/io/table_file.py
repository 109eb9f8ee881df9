"""Tables as Parquet files that carry their own digest, whole or not at all."""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from datasets_spec.errors import damaged
from datasets_spec.manifest import read_sealed, sealed
from ltx_core.io.atomic import write_bytes


def write_table(path: Path, table: pa.Table) -> None:
    """Replace `path` by `table`.

    Made in memory first: Arrow, writing to a disk that fills up, leaves its file open as long as anybody keeps the
    error, so that neither the space is free nor the disk can be unmounted.

    Raises:
        StorageError: the disk is full or read-only.
    """
    write_bytes(path, sealed(table))


def read_table(path: Path, columns: Collection[str]) -> pa.Table:
    """Return what `write_table` was given, a table of these columns.

    Raises:
        DamagedError: the file is gone, has other bytes than were written, or is another table in its place.
    """
    table = read_sealed(path)
    if set(table.column_names) != set(columns):
        raise damaged(path, f"it has the columns {table.column_names}, and {list(columns)} are wanted")
    return table
