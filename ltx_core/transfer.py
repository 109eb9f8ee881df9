"""Copies between host and device beside the computing: a copy stream of their own on a GPU, plain copies elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor


class CopyStream(Protocol):
    """Where copies to the device run."""

    def copy(self, target: torch.Tensor, source: torch.Tensor, slot: int) -> None:
        """Start copying into `slot`'s memory, after all computing that was asked for until now."""
        ...

    def wait(self, slot: int) -> None:
        """Hold further computing until the last copy into `slot` is there."""
        ...

    def join(self) -> None:
        """Hold further computing until all copies are there."""
        ...


class HostCopyStream:
    """Without a GPU a copy is done when asked for."""

    def copy(self, target: torch.Tensor, source: torch.Tensor, slot: int) -> None:
        """Copy now."""
        target.copy_(source)

    def wait(self, slot: int) -> None:
        """Nothing is under way."""

    def join(self) -> None:
        """Nothing is under way."""


class CudaCopyStream:
    """A stream of copies; events order it with the computing, so all of it can be captured into a CUDA graph."""

    def __init__(self, num_slots: int) -> None:
        self._stream = torch.cuda.Stream()
        self._ready: list[torch.cuda.Event | None] = [None] * num_slots

    def copy(self, target: torch.Tensor, source: torch.Tensor, slot: int) -> None:
        """Start after everything on the current stream: what read this memory before is then done."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
            event = torch.cuda.Event()
            event.record(self._stream)
        self._ready[slot] = event

    def wait(self, slot: int) -> None:
        """The current stream waits."""
        event = self._ready[slot]
        if event is not None:
            torch.cuda.current_stream().wait_event(event)

    def join(self) -> None:
        """The current stream waits for all; afterwards no event of the past is waited for.

        For their events, not for the stream: a graph being captured may not wait for a stream that it has not used, and
        where every offloaded block has a slot of its own nothing is copied.
        """
        for slot in range(len(self._ready)):
            self.wait(slot)
        self._ready = [None] * len(self._ready)


def copy_stream_for(device: torch.device, num_slots: int) -> CopyStream:
    """The copy stream of a device."""
    return CudaCopyStream(num_slots) if device.type == "cuda" else HostCopyStream()


Item = TypeVar("Item")
Named = Mapping[Any, Tensor]
"""Tensors by whatever names their user likes."""

PACKING_THREADS = 4
"""Samples packed and hashed at once: both leave the interpreter's lock, and one thread is slower than a GPU embeds."""


@dataclass(frozen=True)
class Arriving:
    """Tensors on their way to the host."""

    tensors: Named
    event: torch.cuda.Event | None
    """None: they are there."""

    def wait(self) -> dict[Any, Tensor]:
        """The tensors, once they are there."""
        if self.event is not None:
            self.event.synchronize()
        return dict(self.tensors)


def to_host(tensors: Named) -> Arriving:
    """Begin to bring tensors to the host, after what their stream has to do before."""
    on_gpu = [tensor for tensor in tensors.values() if tensor.is_cuda]
    if not on_gpu:
        return Arriving(tensors, None)
    arriving = {}
    for name, tensor in tensors.items():
        arriving[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        arriving[name].copy_(tensor, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(on_gpu[0].device))
    return Arriving(arriving, event)


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Bring a tensor to a device without waiting for what is queued there."""
    if tensor.is_cuda or torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def one_behind(items: Iterable[Item], launch: Callable[[Item], Arriving]) -> Iterator[tuple[Item, dict[Any, Tensor]]]:
    """Each item with what `launch` made of it, in order; the next item is launched before one is given.

    `launch` queues work on a device and returns before it is done, so the device has work while the caller stores
    results and the next item is fetched. Only one item is ahead: its memory is the price.
    """
    before: tuple[Item, Arriving] | None = None
    for item in items:
        current = (item, launch(item))
        if before is not None:
            yield before[0], before[1].wait()
        before = current
    if before is not None:
        yield before[0], before[1].wait()
