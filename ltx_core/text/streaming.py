"""A text encoder larger than the device: each layer's weights come from page-locked host memory just before its turn.

Two slots of device memory, each as large as the largest layer, take the layers by turns: while one layer computes, the
next one is copied on a stream of its own. After the last layer the first follows, for the next pack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

ALIGNMENT = 256
"""Bytes; every tensor starts at a multiple."""


class Place(NamedTuple):
    """A tensor of a layer, and where its bytes lie in the layer's memory."""

    tensor: Tensor
    begin: int
    shape: torch.Size
    dtype: torch.dtype

    def view(self, memory: Tensor) -> Tensor:
        """The tensor's values in `memory`, which holds the layer."""
        end = self.begin + self.shape.numel() * self.dtype.itemsize
        return memory[self.begin : end].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class HostLayer:
    """A layer's weights on the host, in one piece."""

    places: tuple[Place, ...]
    memory: Tensor


class LayerStream:
    """Streams the layers that were handed to it, in order and over again."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.layers: list[HostLayer] = []
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._slots: list[Tensor] = []
        self._holds: list[int | None] = [None, None]
        self._there: list[Any] = [None, None]

    def adopt(self, layer: torch.nn.Module) -> None:
        """Take a layer's weights to the host; from now on they are on the device only while it computes."""
        places, begin = [], 0
        for tensor in (*layer.parameters(), *layer.buffers()):
            places.append(Place(tensor, begin, tensor.shape, tensor.dtype))
            begin += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        memory = torch.empty(begin, dtype=torch.uint8, pin_memory=self._copies is not None)
        for place in places:
            place.view(memory).copy_(place.tensor.data)
            place.tensor.data = torch.empty(0, dtype=place.dtype, device=self.device)
        index = len(self.layers)
        self.layers.append(HostLayer(tuple(places), memory))
        layer.register_forward_pre_hook(lambda _module, _inputs: self.enter(index))

    def enter(self, index: int) -> None:
        """Bind a layer's weights for the computing that follows, and start to copy the next layer's."""
        if not self._slots:
            size = max(layer.memory.numel() for layer in self.layers)
            self._slots = [torch.empty(size, dtype=torch.uint8, device=self.device) for _ in range(2)]
        slot = self._holds.index(index) if index in self._holds else self._copy(index, 0)
        if self._there[slot] is not None:
            torch.cuda.current_stream(self.device).wait_event(self._there[slot])
        for place in self.layers[index].places:
            place.tensor.data = place.view(self._slots[slot])
        following = (index + 1) % len(self.layers)
        if following not in self._holds:
            self._copy(following, 1 - slot)

    def _copy(self, index: int, slot: int) -> int:
        """Start a copy once all computing asked for until now is done with the slot."""
        memory = self.layers[index].memory
        target = self._slots[slot][: memory.numel()]
        self._holds[slot] = index
        if self._copies is None:
            target.copy_(memory)
            return slot
        self._copies.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._copies):
            target.copy_(memory, non_blocking=True)
            self._there[slot] = self._copies.record_event()
        return slot


def stream_layers(layers: Sequence[torch.nn.Module], device: torch.device) -> LayerStream:
    """Hand over all of them."""
    stream = LayerStream(device)
    for layer in layers:
        stream.adopt(layer)
    return stream
