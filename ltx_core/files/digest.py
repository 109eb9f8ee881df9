"""Digests of files by content, remembered by path, size and modification time."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from ltx_core.errors import DamagedError
from ltx_core.files.regular import open_regular
from ltx_core.files.table_file import read_table, write_table

DIGEST_LENGTH = 32
"""Hex digits kept of a SHA-256: 128 bits, far past accidental collision."""


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes, `DIGEST_LENGTH` hex digits.

    Raises:
        OSError: it cannot be read, or is no file but a pipe, a device or the like.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_LENGTH]


def text_digest(*parts: str) -> str:
    """Digest of several strings; ("ab", "c") and ("a", "bc") differ."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:DIGEST_LENGTH]


class DigestMemo:
    """Remembers a digest by (path, size, mtime_ns, kind), so that unchanged bytes are read once.

    A file replaced in place has another mtime or size and is read again. Kept in one Parquet file, saved by `save`.
    """

    COLUMNS = ("path", "size", "mtime_ns", "kind", "digest")

    def __init__(self, store: Path) -> None:
        self.store = store
        self._known: dict[tuple[str, int, int, str], str] = {}
        self._changed = False
        if store.exists():
            try:
                columns = read_table(store).to_pydict()
            except DamagedError as error:
                logging.getLogger(__name__).warning("%s; it is made again, and files are read once more", error.found)
                store.unlink(missing_ok=True)
                return
            for path, size, mtime, kind, digest in zip(*(columns[c] for c in self.COLUMNS), strict=True):
                self._known[path, size, mtime, kind] = digest

    def get(self, path: Path, kind: str = "bytes", compute: Callable[[Path], str] = file_digest) -> str:
        """The digest of `path`, computed only if the file changed since it was last asked for."""
        stat = path.stat()
        key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, kind)
        if key not in self._known:
            self._known[key] = compute(path)
            self._changed = True
        return self._known[key]

    def save(self) -> None:
        if not self._changed:
            return
        rows = sorted((*key, digest) for key, digest in self._known.items())
        table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(self.COLUMNS)})
        write_table(self.store, table)
        self._changed = False
