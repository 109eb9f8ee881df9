"""Digests of files by content, remembered as long as a file's size, times and inode are the same.

Everything is known by its SHA-256 but weights, which are known by their BLAKE3: docs/decisions/weights_digest.md.
"""

import hashlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
from blake3 import blake3

from ltx_core.errors import ChangedError, DamagedError
from ltx_core.io.json_file import read_json, write_json
from ltx_core.io.read_at import fill
from ltx_core.io.regular import open_regular
from ltx_core.io.table_file import read_table, write_table
from ltx_core.progress import SILENT, Progress

DIGEST_LENGTH = 32
"""Hex digits kept of a digest: 128 bits, far past accidental collision."""
PIECE_BYTES = 2**22
"""Bytes of weights read at a time. A piece of 64 MiB falls out of the caches, and takes twice the processor time."""
READERS = 4
"""Threads that read weights ahead of the hashing, each one piece: copies from the page cache are slower than all cores
hash, and a disk is fast only if it is asked for much at once."""
WORTH_THREADS = 2**24
"""Bytes of weights for which it pays to start threads."""
SHOWN_BYTES = 2**30
"""Bytes of weights whose reading is shown as it goes, each `SHOWN_STEP` bytes."""
SHOWN_STEP = 2**26
MIB = 2**20
WEIGHTS = "blake3"
"""The kind of a digest of a file of weights, as the memo has it."""

GRANULARITY_NS = 2_000_000_000
"""The coarsest step of times that file systems keep (FAT: 2 s). Of a file that changed less than this before it was
read, another change may leave all that `FileState` sees as it was."""


class FileState(NamedTuple):
    """Properties that change when a file is written, replaced or put back: any write and any rename sets `ctime_ns`."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, file: Path | BinaryIO) -> "FileState":
        """Of the file that a path leads to now, or of an open one.

        Raises:
            OSError: there is none, or it cannot be looked at.
        """
        stat = file.stat() if isinstance(file, Path) else os.fstat(file.fileno())
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes, `DIGEST_LENGTH` hex digits.

    Raises:
        OSError: it cannot be read, or is no file but a pipe, a device or the like.
    """
    with open_regular(path) as file:
        return content_digest(file)


def content_digest(file: BinaryIO) -> str:
    """SHA-256 of an open file's bytes, `DIGEST_LENGTH` hex digits."""
    return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_LENGTH]  # type: ignore[arg-type]  # a narrower protocol


def weights_digest(
    path: Path,
    file: BinaryIO,
    spans: Sequence[tuple[int, int]] | None = None,
    *,
    head: bytes = b"",
    progress: Progress = SILENT,
) -> str:
    """BLAKE3 of `head` and of the bytes of `file`, which is `path` opened, `DIGEST_LENGTH` hex digits, by all cores.

    `spans`: the parts of the file, [begin, end), instead of all of it. `progress` gets the pace of a large one.

    Raises:
        ChangedError: the file ends before a span does.
    """
    spans = [(0, FileState.of(file).size)] if spans is None else spans
    total, done, shown = sum(end - begin for begin, end in spans), 0, 0
    digest = blake3(head, max_threads=len(os.sched_getaffinity(0)) if total >= WORTH_THREADS else 1)
    for piece in _read_ahead(path, file, spans):
        digest.update(piece)
        done += len(piece)
        if total >= SHOWN_BYTES and (done - shown >= SHOWN_STEP or done == total):
            shown = done
            progress.advance(done // MIB, total // MIB, f"MiB of {path.name}")
    return digest.hexdigest()[:DIGEST_LENGTH]


def _read_ahead(path: Path, file: BinaryIO, spans: Sequence[tuple[int, int]]) -> Iterator[memoryview]:
    """The bytes of spans in order, in pieces; the next ones are read while the caller uses one."""
    pieces = ((at, min(at + PIECE_BYTES, end)) for begin, end in spans for at in range(begin, end, PIECE_BYTES))
    size = min(PIECE_BYTES, max((end - begin for begin, end in spans), default=0))
    buffers = cycle([memoryview(bytearray(size)) for _ in range(READERS)])
    ahead: deque[Future[memoryview]] = deque()
    with ThreadPoolExecutor(READERS, "reading weights") as threads:
        for begin, end in pieces:
            if len(ahead) == READERS:
                yield ahead.popleft().result()
            ahead.append(threads.submit(_filled, next(buffers)[: end - begin], path, file, begin))
        while ahead:
            yield ahead.popleft().result()


def _filled(buffer: memoryview, path: Path, file: BinaryIO, begin: int) -> memoryview:
    if fill(buffer, file, begin) != len(buffer):
        raise changed(path)
    return buffer


def text_digest(*parts: str) -> str:
    """Digest of several strings; ("ab", "c") and ("a", "bc") differ."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:DIGEST_LENGTH]


class DigestMemo:
    """Remembers the digest of a file together with its state, so that unchanged bytes are read once.

    Kept in one Parquet file, saved by `save`. A digest of a file that had just been written is not remembered, see
    `GRANULARITY_NS`. Threads may share a memo: at worst two of them read the same file.
    """

    COLUMNS = ("path", "kind", *FileState._fields, "digest")

    def __init__(self, store: Path, progress: Progress = SILENT) -> None:
        """`progress` gets the pace of reading weights."""
        self.store, self.progress = store, progress
        self._known: dict[tuple[str, str], tuple[FileState, str]] = {}
        self._answered: dict[Path, FileState] = {}
        self._changed = False
        if store.exists():
            try:
                columns = read_table(store, self.COLUMNS).to_pydict()
            except DamagedError as error:
                logging.getLogger(__name__).warning("%s; it is made again, and files are read once more", error.found)
                store.unlink(missing_ok=True)
                return
            for path, kind, *state, digest in zip(*(columns[c] for c in self.COLUMNS), strict=True):
                self._known[path, kind] = FileState(*state), digest

    def get(
        self,
        path: Path,
        kind: str = "bytes",
        compute: Callable[[BinaryIO], str] = content_digest,
        *,
        again: bool = False,
        watch: bool = True,
    ) -> str:
        """The digest of `path`, computed only if the file changed since it was last asked for, or to read it `again`.

        `watch`: `check` looks at it too.

        Raises:
            OSError: it cannot be read.
            ChangedError: it changed while it was read.
        """
        known = self._known.get((name := os.path.realpath(path), kind))  # which no link to itself stops
        if known is None or known[0] != FileState.of(path) or again:
            known = self._computed(path, name, kind, compute)
        if watch:
            self._answered.setdefault(path, known[0])
        return known[1]

    def of_weights(self, path: Path) -> str:
        """The digest of a file of weights, or beside weights.

        Raises:
            OSError, ChangedError: as for `get`.
        """
        return self.get(path, WEIGHTS, partial(weights_digest, path, progress=self.progress))

    def of_model(self, paths: Iterable[Path]) -> str:
        """One digest of the files that a model is read from, by their names and contents.

        Raises:
            OSError, ChangedError: as for `get`.
        """
        return text_digest(*(part for path in paths for part in (path.name, self.of_weights(path))))

    def check(self, *paths: Path) -> None:
        """See that every watched file whose digest was given, or only those of `paths`, is still the file it was.

        Whoever names a result by such digests and then reads the files calls this after reading and before anything is
        kept: so what is kept was made of what names it.

        Raises:
            ChangedError: one was written, replaced or removed since; names it.
        """
        for path, state in list(self._answered.items()):
            if paths and path not in paths:
                continue
            try:
                same = FileState.of(path) == state
            except OSError:
                same = False
            if not same:
                raise changed(path)

    def save(self) -> None:
        """Keep what is new for later processes.

        Raises:
            StorageError: the disk is full.
        """
        if not self._changed:
            return
        self._changed = False
        rows = sorted((*key, *state, digest) for key, (state, digest) in list(self._known.items()))
        table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(self.COLUMNS)})
        write_table(self.store, table)

    def _computed(self, path: Path, name: str, kind: str, compute: Callable[[BinaryIO], str]) -> tuple[FileState, str]:
        with open_regular(path) as file:
            begun, state = time.time_ns(), FileState.of(file)
            digest = compute(file)
            if FileState.of(file) != state or FileState.of(path) != state:
                raise changed(path)
        if begun - state.ctime_ns > GRANULARITY_NS:
            self._known[name, kind] = state, digest
            self._changed = True
        else:
            self._known.pop((name, kind), None)
        return state, digest


def changed(path: Path) -> ChangedError:
    """The error of a file that is not what it was."""
    return ChangedError(
        f"{path} changed while it was read, so nothing was kept of it; leave it as it is while a stage reads it, and "
        f"run again"
    )


def voucher(path: Path) -> Path:
    """The file that holds the digest of `path`."""
    return path.with_name(f"{path.name}.json")


def vouch(path: Path) -> None:
    """Say that `path` is as it should be, which only who wrote it knows.

    Raises:
        StorageError: the disk is full.
    """
    write_json(voucher(path), {"digest": file_digest(path)})


def is_vouched(path: Path) -> bool:
    """Return whether `path` is there, and still what was written."""
    try:
        return path.is_file() and read_json(voucher(path))["digest"] == file_digest(path)
    except DamagedError:
        return False
