"""Host to device and back without waiting: one item is computed while the one before it is looked at."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

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
