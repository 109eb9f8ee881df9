"""Tensors in and out of samples: safetensors bytes, read in place from mapped shards."""

import hashlib
import mmap
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from ltx_core.errors import DataError
from ltx_core.files.digest import DIGEST_LENGTH
from ltx_core.files.safetensors import header_of
from ltx_core.files.tensors import torch_dtype

# The mapping is meant to be read-only. Not `catch_warnings` around each read: that is not safe among threads.
warnings.filterwarnings("ignore", message="The given buffer is not writable", category=UserWarning)


def pack_sample(tensors: Mapping[str, Tensor]) -> tuple[bytes, str]:
    """Safetensors bytes of a sample and their digest. The same tensors give the same bytes."""
    data = save({name: tensor.contiguous().cpu() for name, tensor in sorted(tensors.items())})
    return data, sample_digest(data)


def sample_digest(data: bytes | memoryview) -> str:
    """SHA-256 of a sample's bytes, as long as every digest here."""
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]


class ShardReader:
    """Random access to samples. Maps each shard once and hands out tensors that share its memory.

    The tensors are read-only: copy before writing. Each sample's bytes are checked when first read. Threads may share
    a reader: at worst two of them check the same sample.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._maps: dict[str, mmap.mmap] = {}
        self._checked: set[tuple[str, int, int, str]] = set()

    def read(self, shard: str, offset: int, size: int, sha256: str) -> dict[str, Tensor]:
        """The tensors of one sample of `shard` (relative to the root).

        Raises:
            DataError: the shard is gone, shorter than its index says, or of other bytes.
        """
        view = memoryview(self._map(shard))[offset : offset + size]
        if (shard, offset, size, sha256) not in self._checked:
            if len(view) != size or sample_digest(view) != sha256:
                raise DataError(
                    f"the sample at byte {offset} of {self.root / shard} is damaged: its bytes are not those its index "
                    f"names. Run again: only its samples are computed anew."
                )
            self._checked.add((shard, offset, size, sha256))
        return _tensors(view, self.root / shard)

    def _map(self, shard: str) -> mmap.mmap:
        if shard not in self._maps:
            path = self.root / shard
            if not path.is_file() or not path.stat().st_size:
                raise DataError(f"shard {path} is gone or empty. Run again: its samples are computed anew.")
            with path.open("rb") as file:
                self._maps[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[shard]


def _tensors(view: memoryview, shard: Path) -> dict[str, Tensor]:
    """Tensors in place: they share the memory of `view`."""
    tensors = {}
    for name, entry in header_of(view, shard).tensors.items():
        dtype = torch_dtype(shard, name, entry.dtype)
        if entry.begin == entry.end:
            tensors[name] = torch.empty(entry.shape, dtype=dtype)
            continue
        count = (entry.end - entry.begin) // dtype.itemsize
        tensors[name] = torch.frombuffer(view, dtype=dtype, count=count, offset=entry.begin).view(entry.shape)
    return tensors
