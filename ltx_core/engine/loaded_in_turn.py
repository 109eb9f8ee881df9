"""Blocks that lie nowhere: each is loaded for its forward, let go, and loaded again for its backward.

For one batch, looked at closely: what every layer was given, and the gradient of what it gave, are shown block by
block, and the device never holds more than one block and the residual streams between all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ltx_core.denoiser.prepare import BlockCall, Hidden


@dataclass(frozen=True)
class Felt:
    """What one layer was given, [M, K], and the gradient of what it gave, [M, N]."""

    layer: torch.nn.Module
    x: Tensor
    gradient: Tensor
    reaches_input: bool
    """Whether that gradient goes on to the input: not to a text, from which nothing learns."""


Load = Callable[[int], torch.nn.Module]
See = Callable[[int, Mapping[str, Felt]], None]
"""Is given a block's index and its layers by their names in it, after its backward."""


@dataclass(frozen=True)
class LoadedInTurn:
    """Runs blocks so. `watched` says which modules of a block are shown."""

    load: Load
    see: See
    watched: Callable[[torch.nn.Module], bool]

    def __call__(self, blocks: Sequence[Any], hidden: Hidden, call: BlockCall, span: range) -> Hidden:
        """The residual streams after the blocks of `span`."""
        video, audio = hidden.video, hidden.audio
        for index in span:
            if not video.requires_grad:  # or nothing before the first block asks for a backward
                video, audio = video.detach().requires_grad_(), audio.detach().requires_grad_()
            video, audio = _Turn.apply(video, audio, self, index, call.of(index))
        return Hidden(video, audio)


class _Turn(torch.autograd.Function):
    """One block. Its weights are loaded twice, its activations are computed twice, and neither is kept."""

    @staticmethod
    def forward(
        ctx: Any, video: Tensor, audio: Tensor, runner: LoadedInTurn, index: int, arguments: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """The two streams after the block."""
        ctx.save_for_backward(video, audio)
        ctx.runner, ctx.index, ctx.arguments = runner, index, arguments
        made: tuple[Tensor, Tensor] = runner.load(index)(video, audio, **arguments)
        return made

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Gradients of the two streams; the block's layers are shown on the way."""
        streams = tuple(tensor.detach().requires_grad_() for tensor in ctx.saved_tensors)
        block = ctx.runner.load(ctx.index)
        with torch.enable_grad(), _watching(block, ctx.runner.watched) as layers:
            torch.autograd.backward(block(*streams, **ctx.arguments), grads)
        ctx.runner.see(ctx.index, {name: felt() for name, felt in layers.items()})
        return (*(stream.grad for stream in streams), None, None, None)


@contextmanager
def _watching(
    block: torch.nn.Module, watched: Callable[[torch.nn.Module], bool]
) -> Iterator[dict[str, Callable[[], Felt]]]:
    """What the watched layers feel, by name, once the backward is through. One that is not called is not there."""
    felt: dict[str, Callable[[], Felt]] = {}

    def hook(name: str) -> Callable[..., Tensor]:
        def look(layer: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            reaches = output.requires_grad
            output = output if reaches else output.detach().requires_grad_()
            output.retain_grad()
            x = inputs[0].detach()

            def found() -> Felt:
                grad = torch.zeros_like(output) if output.grad is None else output.grad
                return Felt(layer, x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1]), reaches)

            felt[name] = found
            return output

        return look

    handles = [module.register_forward_hook(hook(name)) for name, module in block.named_modules() if watched(module)]
    try:
        yield felt
    finally:
        for handle in handles:
            handle.remove()
