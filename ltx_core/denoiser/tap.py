"""The video stream between two blocks, for a loss on hidden states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ltx_core.denoiser.blocks import BlockRunner
from ltx_core.denoiser.prepare import BlockCall, Hidden


@dataclass
class Tap:
    """Keeps the video stream as it is after one block of one forward.

    The blocks run in two spans and not in one, which changes no arithmetic: recomputed, streamed and compiled blocks
    stay what they are, and what is kept is an input of the next block, which is there anyway.
    """

    block: int
    video: Tensor | None = None
    """[B, T, D] after the forward; inside a route [B, K, D], the tokens it keeps in the order of `TokenRoute.kept`."""

    def on(self, run: BlockRunner) -> BlockRunner:
        """Runs blocks by `run`, and keeps the stream on the way."""

        def tapped(blocks: Sequence[Any], hidden: Hidden, call: BlockCall, span: range) -> Hidden:
            if self.block not in span:
                return run(blocks, hidden, call, span)
            hidden = run(blocks, hidden, call, range(span.start, self.block + 1))
            self.video = hidden.video
            return run(blocks, hidden, call, range(self.block + 1, span.stop))

        return tapped
