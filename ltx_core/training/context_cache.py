"""Contexts of captions, computed once: the connectors are frozen, so a caption always has the same."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ltx_core.text.contexts import text_contexts
from ltx_core.training.samples import SampleSource

CAPACITY_BYTES = 2 * 2**30
"""Host memory that contexts may take: 170 captions in bf16 at the full length of 1024 tokens. A caption that was let go
costs the connectors again, milliseconds on a GPU."""


class ContextCache:
    """Contexts by caption, the most recently used ones kept in host memory, pinned for a GPU.

    Each caption goes through the connectors alone, so its context does not depend on its batch.
    """

    def __init__(
        self, source: SampleSource, connectors: Any, length: int | None, capacity_bytes: int = CAPACITY_BYTES
    ) -> None:
        self.source = source
        self.connectors = connectors
        self.length = length
        self.capacity_bytes = capacity_bytes
        self.held_bytes = 0
        """Bytes of the contexts that are kept."""
        self._known: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

    def __call__(self, captions: Sequence[str], device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Video context [B, S, Dv] and audio context [B, S, Da]."""
        pairs = [self._one(caption) for caption in captions]
        video, audio = ([pair[i].to(device, non_blocking=pair[i].is_pinned()) for pair in pairs] for i in range(2))
        return torch.cat(video), torch.cat(audio)

    def _one(self, caption: str) -> tuple[Tensor, Tensor]:
        if caption not in self._known:
            with torch.no_grad():
                pair = text_contexts(self.connectors, [self.source.text(caption)], length=self.length)
            video, audio = (_kept(context) for context in pair)
            self._known[caption] = (video, audio)
            self.held_bytes += _size(self._known[caption])
            while self.held_bytes > self.capacity_bytes and len(self._known) > 1:
                self.held_bytes -= _size(self._known.popitem(last=False)[1])
        self._known.move_to_end(caption)
        return self._known[caption]


def _kept(context: Tensor) -> Tensor:
    """In host memory; from there a GPU fetches pinned memory by itself."""
    return context.cpu().pin_memory() if context.is_cuda else context


def _size(pair: tuple[Tensor, Tensor]) -> int:
    return sum(context.numel() * context.element_size() for context in pair)
