"""Contexts of captions, computed once: the connectors are frozen, so a caption always has the same."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from ltx_core.text.contexts import text_contexts
from ltx_core.training.samples import SampleSource

CAPACITY = 256
"""Captions kept; 12 MB each in bf16 at the full length of 1024 tokens, in host memory."""


class ContextCache:
    """Contexts by caption, the most recently used ones kept on the CPU.

    Each caption goes through the connectors alone, so its context does not depend on its batch.
    """

    def __init__(self, source: SampleSource, connectors: Any, length: int | None, capacity: int = CAPACITY) -> None:
        self.source = source
        self.connectors = connectors
        self.length = length
        self.capacity = capacity
        self._known: OrderedDict[str, tuple[torch.Tensor, torch.Tensor]] = OrderedDict()

    def __call__(self, captions: Sequence[str], device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
        """Video context [B, S, Dv] and audio context [B, S, Da]."""
        pairs = [self._one(caption) for caption in captions]
        return torch.cat([p[0] for p in pairs]).to(device), torch.cat([p[1] for p in pairs]).to(device)

    def _one(self, caption: str) -> tuple[torch.Tensor, torch.Tensor]:
        if caption not in self._known:
            with torch.no_grad():
                video, audio = text_contexts(self.connectors, [self.source.text(caption)], length=self.length)
            self._known[caption] = (video.cpu(), audio.cpu())
            if len(self._known) > self.capacity:
                self._known.popitem(last=False)
        self._known.move_to_end(caption)
        return self._known[caption]
