"""A table file is there whole or not at all."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ltx_core.io.table_file import write_table

TABLE = pa.table({"number": list(range(2000))})


def test_what_is_there_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "table.parquet"
    for table in (TABLE, TABLE.slice(0, 3)):
        write_table(path, table)
        assert pq.read_table(path).equals(table)
    assert list(path.parent.iterdir()) == [path]
