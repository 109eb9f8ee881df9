"""Run the transformer's blocks one after another; a policy may replace how, never what.

A route is a series of blocks that compute a part of the video's tokens. The other tokens wait, and go on after the
route as they were before it. Everything that belongs to a token goes with
it: its rotary angles in both attentions, and its modulation where tokens are modulated one by one.

Only the video is routed. Audio has 25 tokens a second beside the video's thousands, so there is nothing to save,
and each of its few tokens carries what the video must keep in step with. Both cross-modal attentions see the video
tokens that are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ltx_core.denoiser.prepare import BlockCall, Hidden
from ltx_core.errors import ShapeError

_ATTRIBUTE = "ltx_block_runner"


class BlockRunner(Protocol):
    """Takes the residual streams through blocks."""

    def __call__(self, blocks: Sequence[Any], hidden: Hidden, call: BlockCall, span: range) -> Hidden:
        """The streams after those of the blocks whose indices are in `span`."""
        ...


def run_plainly(blocks: Sequence[Any], hidden: Hidden, call: BlockCall, span: range) -> Hidden:
    """Each block as it is: equal to diffusers' own forward bit for bit."""
    for index in span:
        hidden = Hidden(*blocks[index](hidden.video, hidden.audio, **call.of(index)))
    return hidden


def set_runner(transformer: torch.nn.Module, runner: BlockRunner) -> None:
    """Run this transformer's blocks by `runner` from now on."""
    setattr(transformer, _ATTRIBUTE, runner)


def runner_of(transformer: torch.nn.Module) -> BlockRunner:
    """Return how this transformer's blocks are run."""
    runner: BlockRunner = getattr(transformer, _ATTRIBUTE, run_plainly)
    return runner


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
        """Return what the route's blocks get: that of the kept tokens, in the order of `kept`."""
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
