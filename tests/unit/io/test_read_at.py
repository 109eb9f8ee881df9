"""Reading by several threads gives the bytes that lie there, wherever the parts begin and the file ends."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ltx_core.io.read_at import LEAST_BYTES, READERS, fill_together

SIZE = READERS * LEAST_BYTES + 5


@pytest.mark.parametrize(
    ("begin", "wanted"), [(0, SIZE), (3, SIZE - 3), (7, 100), (SIZE - 9, 20), (1, 3 * LEAST_BYTES)]
)
def test_every_byte_is_in_its_place(tmp_path: Path, begin: int, wanted: int) -> None:
    whole = np.random.default_rng(0).bytes(SIZE)
    (tmp_path / "file").write_bytes(whole)
    buffer = bytearray(wanted)
    with (tmp_path / "file").open("rb") as file, ThreadPoolExecutor(READERS) as threads:
        done = fill_together(memoryview(buffer), file, begin, threads)
    expected = whole[begin : begin + wanted]
    assert done == len(expected)
    assert bytes(buffer[:done]) == expected
