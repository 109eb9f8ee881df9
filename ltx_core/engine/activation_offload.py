"""Activation offload: what blocks keep for their backward waits in host memory.

A block's activations leave for page-locked memory while the next block computes, and come back while the block after it
computes its gradients. The link to the host is idle otherwise, unless weights are offloaded. At 512x768x121 a block's
forward takes 4.6 ms of an H200, in which 0.2 GiB travel; to multiply as much again takes 1.5 ms.

Copies only: gradients are the same bits. All of it can be captured into a CUDA graph, and a block's copies are waited
for before its memory is given up, so the allocator need not know of the second stream.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ltx_core.engine.contiguous import HostArena, aligned
from ltx_core.transfer import copy_stream_for

SMALLEST = 2**20
"""Bytes of a tensor that is worth a copy of its own."""
SLOTS = 3
"""Blocks whose copies are told apart: the one that leaves or comes, and its neighbours."""


class _Kept:
    """One piece of a block's memory, uint8: on the host, and on the device until it has left and once it is back."""

    def __init__(self, memory: Tensor, host: Tensor) -> None:
        self.here: Tensor | None = memory
        self.host = host


class _View:
    """A tensor that a backward will ask for: the piece of memory, and how it lies there."""

    def __init__(self, index: int, kept: _Kept, tensor: Tensor) -> None:
        self.index, self.kept, self.dtype = index, kept, tensor.dtype
        self.form = tensor.storage_offset(), tensor.shape, tensor.stride()


class ActivationOffload:
    """Activations of the blocks named, up to so many bytes of each. One forward and its backward at a time.

    Raises:
        OutOfMemory: the host has no room.
    """

    def __init__(self, device: torch.device, arena: HostArena, blocks: Iterable[int], bytes_of_a_block: int) -> None:
        self._device, self._arena = device, arena  # which unlocks its memory when it goes
        self._host = {index: arena.allocate(bytes_of_a_block) for index in blocks}
        self._copy_stream = copy_stream_for(device, SLOTS)
        self._kept: dict[int, list[_Kept]] = {}
        """By block, ascending: a forward enters them so."""

    def __contains__(self, index: int) -> bool:
        return index in self._host

    @contextmanager
    def keeping(self, index: int, not_its_own: Iterable[Tensor]) -> Iterator[None]:
        """While block `index` computes: what it saves is sent to the host, as far as there is room.

        Weights, and what all blocks are given, are `not_its_own`: others hold them anyway.
        """
        if any(left >= index for left in self._kept):
            self._kept.clear()  # a forward whose backward never came
        self._let_go(index - 1)
        others = {tensor.untyped_storage().data_ptr() for tensor in not_its_own}
        pieces = _Pieces(self._device, self._host[index], others)

        def pack(tensor: Tensor) -> Tensor | _View:
            kept = pieces.of(tensor)
            return tensor if kept is None else _View(index, kept, tensor)

        with saved_tensors_hooks(pack, self._unpack):
            yield
        self._kept[index] = pieces.found
        for kept in pieces.found:
            assert kept.here is not None  # it was just made
            self._copy_stream.copy(kept.host, kept.here, index % SLOTS)

    def _let_go(self, before: int) -> None:
        """Give up the device memory of the blocks before that one, once it is on the host."""
        for index, pieces in self._kept.items():
            if index < before and any(kept.here is not None for kept in pieces):
                self._copy_stream.wait(index % SLOTS)
                for kept in pieces:
                    kept.here = None

    def _unpack(self, saved: Tensor | _View) -> Tensor:
        """The tensor on the device. The first that a block wants brings all of it, and starts on the block before."""
        if isinstance(saved, Tensor):
            return saved
        if saved.index in self._kept:
            self._bring(saved.index)
            self._copy_stream.wait(saved.index % SLOTS)
            if before := [index for index in self._kept if index < saved.index]:
                self._bring(before[-1])
            del self._kept[saved.index]  # its views hold what is still to be asked for
        assert saved.kept.here is not None  # brought just now, or by the first of its block
        offset, shape, stride = saved.form
        whole = torch.empty(0, dtype=saved.dtype, device=self._device)
        return whole.set_(saved.kept.here.untyped_storage(), offset, shape, stride)

    def _bring(self, index: int) -> None:
        """Start copying what of a block is no longer here."""
        for kept in self._kept[index]:
            if kept.here is None:
                kept.here = torch.empty_like(kept.host, device=self._device)
                self._copy_stream.copy(kept.here, kept.host, index % SLOTS)


class _Pieces:
    """The pieces of memory that one block saves and that go to the host."""

    def __init__(self, device: torch.device, host: Tensor, others: set[int]) -> None:
        self._device, self._host, self._others = device, host, others
        self._by_address: dict[int, _Kept] = {}
        self._used = 0

    @property
    def found(self) -> list[_Kept]:
        """In the order in which they were saved."""
        return list(self._by_address.values())

    def of(self, tensor: Tensor) -> _Kept | None:
        """The piece that a tensor lies in; None if it stays on the device."""
        memory = tensor.untyped_storage()
        address, size = memory.data_ptr(), memory.nbytes()
        if address not in self._by_address:
            stays = tensor.device != self._device or address in self._others or size < SMALLEST
            if stays or self._used + size > len(self._host):
                return None
            flat = torch.empty(0, dtype=torch.uint8, device=self._device).set_(memory)
            self._by_address[address] = _Kept(flat, self._host[self._used : self._used + size])
            self._used += aligned(size)
        return self._by_address[address]
