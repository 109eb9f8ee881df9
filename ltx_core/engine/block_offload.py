"""Frozen weights of blocks that are on the device only while they are used.

Each offloaded block's weights lie contiguous in host memory. A few slots of device memory, each as large as the largest
block, take them in turn. Copies run ahead in the direction of travel: forward through the blocks, then backward for
the recompute. Weights only ever travel from host to device; whatever trains stays where it is.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from ltx_core.engine.contiguous import HostArena, aligned
from ltx_core.errors import ConfigError
from ltx_core.transfer import copy_stream_for


@dataclass(frozen=True)
class _Placed:
    """One tensor of a block: where its bytes lie, and its form."""

    tensor: torch.Tensor
    offset: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return self.shape.numel() * self.dtype.itemsize


class OffloadState(NamedTuple):
    """The state of the slots between two forwards."""

    holds: tuple[int | None, ...]
    """The block in each slot."""
    last: int | None
    """The block that was entered last."""


CopyOrder = Literal["there and back", "round"]
"""Forward and then backward through the blocks, as training goes; or forward again and again."""


class BlockOffload:
    """Streams the blocks that were handed to it. Not thread-safe: one forward and backward at a time."""

    def __init__(
        self, device: torch.device, arena: HostArena, *, num_slots: int = 2, order: CopyOrder = "there and back"
    ) -> None:
        if num_slots < 2:
            raise ConfigError(f"{num_slots} slots; block offload wants at least 2, one in use and one being filled")
        self._device, self._arena, self._num_slots, self._order = device, arena, num_slots, order
        self._copy_stream = copy_stream_for(device, num_slots)
        self._blocks: dict[int, list[_Placed]] = {}
        self._host: dict[int, torch.Tensor] = {}
        self._slots: list[torch.Tensor] = []
        self._holds: list[int | None] = [None] * num_slots
        self._last: int | None = None

    def adopt(self, index: int, block: torch.nn.Module) -> None:
        """Move the frozen weights of `block` to host memory. Their parameters keep shape and dtype but no memory.

        Raises:
            OutOfMemory: the host has not that much.
        """
        frozen = [t for t in (*block.parameters(), *block.buffers()) if not t.requires_grad]
        placed, offset = [], 0
        for tensor in frozen:
            placed.append(_Placed(tensor, offset, tensor.shape, tensor.dtype))
            offset += aligned(placed[-1].num_bytes)
        host = self._arena.allocate(offset)
        for item in placed:
            host[item.offset : item.offset + item.num_bytes].copy_(_bytes(item.tensor.data))
        self._blocks[index], self._host[index] = placed, host
        for known in self._blocks if self._slots else (index,):  # or they would keep the old slots' memory
            self._evict(known)
        self._slots.clear()
        self._holds, self._last = [None] * self._num_slots, None  # new slots hold nothing yet

    def __contains__(self, index: int) -> bool:
        return index in self._blocks

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def host_bytes(self) -> int:
        """Host memory of all offloaded blocks."""
        return sum(host.numel() for host in self._host.values())

    @property
    def slot_bytes(self) -> int:
        """Device memory of all slots."""
        return self._num_slots * max((host.numel() for host in self._host.values()), default=0)

    def enter(self, index: int) -> None:
        """Bring the weights of block `index` for the computing that follows, and start on the block after it.

        The direction is told from the block before; the first of a backward is the last of the forward again.
        """
        self._allocate()
        backward = self._order != "round" and self._goes_back(index)
        slot = self._load(index)
        self._copy_stream.wait(slot)
        self._bind(index, slot)
        self._last = index
        keep = {slot}
        for following in self._following(index, backward=backward):
            keep.add(self._load(following, keep))

    def settle(self) -> None:
        """Further computing waits for all copies: what a CUDA graph's capture begins and ends with."""
        self._copy_stream.join()

    @property
    def state(self) -> OffloadState:
        """The blocks in the slots, and the block that was entered last."""
        return OffloadState(tuple(self._holds), self._last)

    def restore(self, wanted: OffloadState) -> None:
        """Make it so, copying what is missing: what a captured graph counts on."""
        self._allocate()
        for slot, index in enumerate(wanted.holds):
            if index is not None and self._holds[slot] != index:
                self._copy(index, slot)
        self._last = wanted.last
        self._copy_stream.join()

    def assume(self, state: OffloadState) -> None:
        """Take it as so: a captured graph was replayed, whose copies this object did not see."""
        self._holds, self._last = list(state.holds), state.last

    def _goes_back(self, index: int) -> bool:
        return self._last is not None and (index < self._last or index == self._last == max(self._blocks))

    def _following(self, index: int, *, backward: bool) -> list[int]:
        """The blocks to come, nearest first, as many as there are slots beside the one in use."""
        ahead = sorted(i for i in self._blocks if (i < index if backward else i > index))
        if self._order == "round":
            ahead += sorted(i for i in self._blocks if i < index)
        return (ahead[::-1] if backward else ahead)[: self._num_slots - 1]

    def _load(self, index: int, keep: Collection[int] = ()) -> int:
        """The slot that holds block `index`, which is copied there if it is in none; never over slots `keep`."""
        if index in self._holds:
            return self._holds.index(index)
        free = [slot for slot in range(self._num_slots) if slot not in keep]
        slot = max(free, key=lambda s: self._distance(self._holds[s], index))
        self._copy(index, slot)
        return slot

    def _copy(self, index: int, slot: int) -> None:
        host = self._host[index]
        self._copy_stream.copy(self._slots[slot][: host.numel()], host, slot)
        self._holds[slot] = index

    def _distance(self, held: int | None, index: int) -> int:
        """Return how little a held block will be missed: the farther from where we are, the later it comes again."""
        return len(self._blocks) * 1000 if held is None else abs(held - index)

    def _allocate(self) -> None:
        if not self._slots:
            size = max(host.numel() for host in self._host.values())
            self._slots = [torch.empty(size, dtype=torch.uint8, device=self._device) for _ in range(self._num_slots)]

    def _bind(self, index: int, slot: int) -> None:
        memory = self._slots[slot]
        for item in self._blocks[index]:
            item.tensor.data = memory[item.offset : item.offset + item.num_bytes].view(item.dtype).view(item.shape)

    def _evict(self, index: int) -> None:
        for item in self._blocks[index]:
            item.tensor.data = torch.empty(1, dtype=item.dtype, device=self._device).expand(item.shape)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)
