"""Tensors laid end to end, and the host memory that frozen weights and activations wait in: page-locked, or a file.

A LoRA on all attention of LTX-2 is 2,304 matrices. Launching work for each, or only listing them, takes the host tens
of milliseconds while the GPU waits; as one piece of memory they take one launch.
"""

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import torch
from torch import Tensor

from ltx_core.errors import OutOfMemory, StorageError


def lay_end_to_end(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Move parameters of one device and dtype into one piece of memory, in order; their values stay."""
    kinds: dict[tuple[torch.device, torch.dtype], list[torch.nn.Parameter]] = {}
    for parameter in parameters:
        kinds.setdefault((parameter.device, parameter.dtype), []).append(parameter)
    for alike in kinds.values():
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in alike])
        for parameter, part in zip(alike, flat.split([p.numel() for p in alike]), strict=True):
            parameter.data = part.view(parameter.shape)


def zeros_like_all(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    """Zeros of the parameters' shapes, end to end in their order."""
    made = {name: torch.nn.Parameter(torch.zeros_like(p), requires_grad=False) for name, p in parameters.items()}
    lay_end_to_end(list(made.values()))
    return {name: zeros.data for name, zeros in made.items()}


def adjacent(tensors: Sequence[Tensor]) -> Iterator[range]:
    """Indices of tensors that lie one after another in one piece of memory, run by run; each is in one of the runs."""
    begin, following = 0, (-1, -1)
    for index, tensor in enumerate(tensors):
        memory, address = tensor.untyped_storage().data_ptr(), tensor.data_ptr()
        if index and (memory, address) != following:
            yield range(begin, index)
            begin = index
        following = (memory, address + tensor.nbytes) if tensor.is_contiguous() else (-1, -1)
    if tensors:
        yield range(begin, len(tensors))


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Adjacent tensors as one flat view of their memory; a single one as it is."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    return first.as_strided((sum(tensor.numel() for tensor in tensors),), (1,), first.storage_offset())


def pieces(tensors: Sequence[Tensor]) -> list[Tensor]:
    """All of the tensors as few flat views."""
    return [joined([tensors[index] for index in run]) for run in adjacent(tensors)]


ALIGNMENT = 256
"""Bytes; every tensor starts at a multiple, so that any view of it is aligned."""


def aligned(num_bytes: int) -> int:
    """`num_bytes` rounded up to the alignment."""
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT


class HostArena:
    """Gives out exact slices of host memory. PyTorch's own pinned allocator rounds every request up to a power of two.

    With `folder`, the memory is a file there, mapped: nothing is page-locked, and the system may drop pages that it can
    read again. Copies then run at the disk's or the page cache's speed and hold up the thread that asks for them.
    """

    def __init__(self, *, pinned: bool, folder: Path | None = None) -> None:
        self.folder = folder
        self._pinned = pinned
        self._registered: list[torch.Tensor] = []
        weakref.finalize(self, _unregister, self._registered)  # memory given back while locked breaks later requests

    def allocate(self, num_bytes: int) -> torch.Tensor:
        """uint8 [num_bytes] on the host.

        Raises:
            OutOfMemory: the system refuses to page-lock that much.
            StorageError: the file cannot be made.
        """
        if self.folder is not None:
            return self._mapped(num_bytes)
        try:
            memory = torch.empty(num_bytes, dtype=torch.uint8)
        except RuntimeError as error:
            raise OutOfMemory(_refused(num_bytes)) from error
        if self._pinned:
            self._register(memory)
        return memory

    def _register(self, memory: torch.Tensor) -> None:
        code = torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.numel(), 0)
        if int(code) != 0:
            raise OutOfMemory(_refused(memory.numel()))
        self._registered.append(memory)

    def _mapped(self, num_bytes: int) -> torch.Tensor:
        assert self.folder is not None
        path = self.folder / f"block-{uuid4().hex}.bin"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, num_bytes)  # a full disk shows here, and not as a killing signal
            mapped = torch.from_file(str(path), shared=True, size=num_bytes, dtype=torch.uint8)
            path.unlink()  # the mapping keeps it; nothing is left behind, however this process ends
            return mapped
        except (OSError, RuntimeError) as error:
            raise StorageError(f"{path} of {num_bytes} bytes cannot be made: {error}; free space there") from error


def _unregister(registered: list[torch.Tensor]) -> None:
    """Unlock memory whose last user is gone."""
    for memory in registered:
        torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())
    registered.clear()


def _refused(num_bytes: int) -> str:
    return (
        f"{num_bytes / 2**30:.1f} GiB of page-locked host memory were refused; offload fewer blocks, use 8-bit "
        f"weights, offload to a file (offload_to: disk), or keep more activations on the GPU (activation_offload: 0)"
    )
