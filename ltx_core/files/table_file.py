"""Tables as Parquet files, whole or not at all."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ltx_core.files.atomic import write_bytes


def write_table(path: Path, table: pa.Table) -> None:
    """Replace `path` by `table`.

    Made in memory first: Arrow, writing to a disk that fills up, leaves its file open as long as anybody keeps the
    error, so that neither the space is free nor the disk can be unmounted.

    Raises:
        StorageError: the disk is full or read-only.
    """
    made = io.BytesIO()
    pq.write_table(table, made)
    write_bytes(path, made.getvalue())
