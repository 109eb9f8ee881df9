"""Run the transformer's blocks one after another; a policy may replace how, never what."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ltx_core.denoiser.prepare import BlockCall, Hidden

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
    """How this transformer's blocks are run."""
    runner: BlockRunner = getattr(transformer, _ATTRIBUTE, run_plainly)
    return runner
