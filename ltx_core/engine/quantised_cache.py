"""Quantised weights kept in files: made once from a checkpoint, read straight at every later start.

One folder for a model and precision, one file for each block and one for what is outside of them. A file is whole or
absent, and stands for itself: a run that was killed while it wrote goes on with the next block, a damaged file is made
again from the checkpoint. Tensors are checked after they were read, on the device: a sum over all of their words takes
no time there, where a SHA-256 of 19 GB takes 20 seconds.
"""

import json
import shutil
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from ltx_core.checkpoint.read import TensorReader
from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.engine.options import Precision
from ltx_core.errors import CheckpointError
from ltx_core.io.atomic import remove_partials
from ltx_core.io.digest import text_digest
from ltx_core.io.json_file import parse_object
from ltx_core.io.lock import folder_lock
from ltx_core.io.safetensors import read_header
from ltx_core.io.tensors import NAMES, write_tensors
from ltx_core.progress import SILENT, Progress

WORD_BYTES = 8
SPARED_BYTES = 2**32
"""Of the disk, for the run's own files."""
WRITERS = 4
"""Parts that are written at a time, each with a copy on the host. A page cache takes 2 to 3 GB/s from one thread."""
CHECKSUMS = "checksums"
OUTSIDE = "outside"
"""Name of the file of all that is in no block."""
Tensors = Mapping[str, torch.Tensor]
QuantisedParts = dict[str, Tensors]
"""Parts of the model in 8 bits, by their names."""


class Cache(Protocol):
    """Tensors of a part of the model as they were kept."""

    def get(self, part: str, wanted: Callable[[], Tensors]) -> Tensors | None:
        """Tensors of the names, shapes and dtypes of `wanted`; None if they are not there whole."""

    def put(self, part: str, tensors: Tensors) -> None:
        """Keep them."""


class NoCache:
    """Keeps nothing."""

    def get(self, part: str, wanted: Callable[[], Tensors]) -> Tensors | None:
        """Nothing is there."""
        return None

    def put(self, part: str, tensors: Tensors) -> None:
        """Nothing is kept."""


class Handed:
    """Parts that are in memory already, each handed out once, before those of another cache, which keeps them."""

    def __init__(self, parts: QuantisedParts, behind: Cache) -> None:
        """`parts` are taken out as they are handed out, so that no second reference keeps them."""
        self._parts, self._behind = parts, behind

    def get(self, part: str, wanted: Callable[[], Tensors]) -> Tensors | None:
        """As the protocol says."""
        if (found := self._parts.pop(part, None)) is None:
            return self._behind.get(part, wanted)
        self._behind.put(part, found)
        return found

    def put(self, part: str, tensors: Tensors) -> None:
        """As the protocol says."""
        self._behind.put(part, tensors)


@dataclass(frozen=True)
class QuantisedFolder:
    """Where a model's quantised weights lie."""

    path: Path
    writes: bool = True
    """False for all ranks but one."""
    progress: Progress = SILENT
    check: Callable[[], object] = bool
    """Asked before weights are kept; raises if the files that they are made of are not those that name the folder."""


@contextmanager
def opened(folder: QuantisedFolder | None, reader: TensorReader) -> Iterator[Cache]:
    """The cache, for one process that writes at a time; a second one waits, and then reads what the first made."""
    if folder is None:
        yield NoCache()
    elif not folder.writes:
        yield QuantisedCache(folder, reader)
    else:
        with folder_lock(folder.path, folder.progress):
            remove_partials(folder.path)
            with ThreadPoolExecutor(WRITERS, "keeping 8-bit weights") as threads:
                cache = QuantisedCache(folder, reader, threads)
                yield cache
                cache.wait()
            folder.progress.note(f"8-bit weights: {cache.num_read} files read, {cache.num_made} made in {folder.path}")


class QuantisedCache:
    """A folder in use: files are read through the buffer of `reader`, and written by `threads`, as many at a time as
    there are `WRITERS`, while the next parts are made."""

    def __init__(
        self, folder: QuantisedFolder, reader: TensorReader, threads: ThreadPoolExecutor | None = None
    ) -> None:
        self.num_read, self.num_made = 0, 0
        self._folder, self._reader, self._threads, self._writes = folder, reader, threads, threads is not None
        self._writing: deque[Future[None]] = deque()

    def get(self, part: str, wanted: Callable[[], Tensors]) -> Tensors | None:
        """As the protocol says. A damaged file is named, and made again by who asked."""
        path = self._path(part)
        if not path.exists():
            return None
        try:
            found = _read(path, self._reader, wanted())
        except CheckpointError as error:
            self._folder.progress.note(f"kept 8-bit weights are damaged and made again: {error}")
            return None
        self.num_read += 1
        return found

    def put(self, part: str, tensors: Tensors) -> None:
        """As the protocol says, while the disk has room that the run does not need itself.

        Raises:
            StorageError: the disk is full or read-only; of this part, or of one before.
        """
        self._leave(WRITERS - 1)
        if self._threads is not None and self._writes and self._has_room(tensors):
            self._folder.check()
            sums, copies = _typed_sums(tensors), {name: _on_host(tensor) for name, tensor in tensors.items()}
            written = self._threads.submit(write_tensors, self._path(part), copies, {CHECKSUMS: json.dumps(sums)})
            self._writing.append(written)
            self.num_made += 1

    def wait(self) -> None:
        """Until what was put is kept.

        Raises:
            StorageError: it could not be written.
        """
        self._leave(0)

    def _leave(self, most: int) -> None:
        """Wait until at most so many parts are still being written."""
        while len(self._writing) > most:
            self._writing.popleft().result()

    def _has_room(self, tensors: Tensors) -> bool:
        path = self._folder.path
        path.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path).free
        self._writes = free > SPARED_BYTES + sum(tensor.nbytes for tensor in tensors.values())
        if not self._writes:
            self._folder.progress.note(
                f"8-bit weights are not kept in {path}, whose disk has {free / 2**30:.1f} GiB left: every start makes "
                f"them again. Free some space (`ltx2-lora gc` says what can go)."
            )
        return self._writes

    def _path(self, part: str) -> Path:
        return self._folder.path / f"{part}.safetensors"


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that nobody else has; of a GPU's in page-locked memory, which is several times as fast to copy to."""
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return host.copy_(tensor.detach())


def cache_key(
    transformer: str, precision: Precision, dtype: torch.dtype, version: int, native_layers: Collection[str] = ()
) -> str:
    """Names quantised weights by the transformer's identity, the precision, the dtype of the rest, the version of the
    program that quantises, and the layers that keep their dtype."""
    return text_digest(transformer, precision, str(dtype), str(version), *sorted(native_layers))


def checksums(tensors: Sequence[torch.Tensor]) -> list[int]:
    """A number for each tensor's bytes, equal on every device; any change of a word, or of two's order, changes it.

    The sum of 64-bit words times odd weights of their places, modulo 2^64: any one word that changes is seen for
    certain, more of them but for one chance in 2^64. Against damage, not against forgery.
    """
    return [int(total) for total in torch.stack([_weighted_sum(tensor) for tensor in tensors]).tolist()]


def _weighted_sum(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    flat = torch.nn.functional.pad(flat, (0, -flat.numel() % WORD_BYTES))
    words = flat.view(torch.int64)
    places = torch.arange(1, 2 * words.numel() + 1, 2, device=words.device)
    return (words * places).sum()


def _read(path: Path, reader: TensorReader, wanted: Tensors) -> Tensors:
    header = read_header(path)
    expected = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    if expected != {name: entry.shape for name, entry in header.tensors.items()}:
        raise CheckpointError(f"{path} holds other tensors than the model has")
    ordered = sorted(header.tensors.items(), key=lambda item: item[1].begin)
    found = {name: reader.as_stored(StoredTensor(path, name, entry)) for name, entry in ordered}
    if CHECKSUMS not in header.metadata:
        raise CheckpointError(f"{path} has no checksums")
    if wrong := wrong_sums(path, found, header.metadata):
        raise CheckpointError(f"{path} has other bytes in {wrong[0]} than were written")
    return found


def wrong_sums(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> list[str]:
    """Names of tensors whose bytes are not those that the file's checksums were taken of; none of a file without.

    Raises:
        CheckpointError: the checksums cannot be read.
    """
    if CHECKSUMS not in metadata:
        return []
    try:
        kept = parse_object(metadata[CHECKSUMS])
    except ValueError as error:
        raise CheckpointError(f"{path} has no readable checksums ({error})") from error
    return [name for name, total in _typed_sums(tensors).items() if kept.get(name) != total]


def _typed_sums(tensors: Tensors) -> dict[str, list[str | int]]:
    """Dtype and checksum of each tensor: the same bytes as another dtype are other numbers."""
    sums = checksums(list(tensors.values()))
    return {name: [NAMES[tensor.dtype], total] for (name, tensor), total in zip(tensors.items(), sums, strict=True)}
