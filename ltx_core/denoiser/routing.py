"""Routes over blocks (TREAD, Krause et al. 2025, arXiv 2501.04765): some blocks compute a part of the tokens alone.

The other tokens wait, and go on after the route as they were before it. Everything that belongs to a token goes with
it: its rotary angles in both attentions, and its modulation where tokens are modulated one by one.

Only the picture is routed. Sound has 25 tokens a second beside the picture's thousands, so there is nothing to save,
and each of its few tokens carries what the picture must keep in step with. Both cross-modal attentions see the picture
tokens that are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ltx_core.denoiser.blocks import BlockRunner
from ltx_core.denoiser.prepare import BlockCall, Hidden
from ltx_core.errors import ShapeError

MODULATION = ("temb", "temb_ca_scale_shift")
"""[B, 1 or T, D]: what scales and shifts video tokens. Gates and the prompt's modulation are one a sample."""
ROTARY = ("video_rotary_emb", "ca_video_rotary_emb")
"""Pairs of cosines and sines, [B, T, D] (interleaved) or [B, heads, T, D] (split)."""


@dataclass(frozen=True)
class TokenRoute:
    """A run of blocks that computes some video tokens of each sample."""

    first: int
    last: int
    """Blocks `first` to `last`, both included."""
    kept: Tensor
    """[B, K] integers from 0 to T - 1, each at most once a sample: the tokens that are computed."""

    def gathered(self, hidden: Hidden) -> Hidden:
        """The streams with the kept video tokens alone, [B, K, D]."""
        return Hidden(_rows(hidden.video, self.kept), hidden.audio)

    def restored(self, before: Hidden, after: Hidden) -> Hidden:
        """All video tokens at their old places: the kept ones as they are `after`, the others as `before`."""
        index = self.kept[:, :, None].expand_as(after.video)
        return Hidden(before.video.scatter(1, index, after.video), after.audio)

    def call(self, call: BlockCall) -> BlockCall:
        """What the route's blocks are given: that of the kept tokens, in the order of `kept`."""
        arguments = dict(call.arguments)
        for name in MODULATION:
            if arguments[name].shape[1] > 1:
                arguments[name] = _rows(arguments[name], self.kept)
        for name in ROTARY:
            arguments[name] = tuple(_rows(table, self.kept) for table in arguments[name])
        return replace(call, arguments=arguments)


def run_routed(
    blocks: Sequence[Any], hidden: Hidden, call: BlockCall, routes: Sequence[TokenRoute], run: BlockRunner
) -> Hidden:
    """The streams after the last block, by way of `routes`; without one, exactly what `run` gives for all blocks.

    Raises:
        ShapeError: routes overlap, are out of order or of range, or do not fit the tokens.
    """
    _check(routes, len(blocks), hidden.video)
    done = 0
    for route in routes:
        hidden = run(blocks, hidden, call, range(done, route.first))
        done = route.last + 1
        hidden = route.restored(hidden, run(blocks, route.gathered(hidden), route.call(call), range(route.first, done)))
    return run(blocks, hidden, call, range(done, len(blocks)))


def _rows(tensor: Tensor, kept: Tensor) -> Tensor:
    """The rows `kept`, [B, K], along the last axis but one: [B, ..., T, D] -> [B, ..., K, D]."""
    between = (1,) * (tensor.ndim - 3)
    index = kept.reshape(len(kept), *between, -1, 1)
    return tensor.gather(-2, index.expand(*tensor.shape[:-2], -1, tensor.shape[-1]))


def _check(routes: Sequence[TokenRoute], num_blocks: int, video: Tensor) -> None:
    free = 0
    for route in routes:
        if not free <= route.first <= route.last < num_blocks:
            raise ShapeError(
                f"a route over blocks {route.first} to {route.last} where {free} to {num_blocks - 1} are free; give "
                f"routes in order and apart from each other"
            )
        if route.kept.ndim != 2 or len(route.kept) != len(video) or not 0 < route.kept.shape[1] <= video.shape[1]:
            raise ShapeError(
                f"a route keeps tokens {list(route.kept.shape)}; [B, K] is wanted for tokens {list(video.shape)}"
            )
        free = route.last + 1
