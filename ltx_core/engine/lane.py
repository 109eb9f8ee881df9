"""Copies beside the computing: a CUDA stream of their own, or plain copies where there is no GPU."""

from typing import Protocol

import torch


class Lane(Protocol):
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


class HostLane:
    """Without a GPU a copy is done when asked for."""

    def copy(self, target: torch.Tensor, source: torch.Tensor, slot: int) -> None:
        """Copy now."""
        target.copy_(source)

    def wait(self, slot: int) -> None:
        """Nothing is under way."""

    def join(self) -> None:
        """Nothing is under way."""


class CudaLane:
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
        where every streamed block has a slot of its own nothing is copied.
        """
        for slot in range(len(self._ready)):
            self.wait(slot)
        self._ready = [None] * len(self._ready)


def lane_for(device: torch.device, num_slots: int) -> Lane:
    """The lane of a device."""
    return CudaLane(num_slots) if device.type == "cuda" else HostLane()
