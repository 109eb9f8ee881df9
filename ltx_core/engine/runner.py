"""The policies over blocks: which are recomputed, and which are offloaded.

Another policy is for one batch that is looked at closely: the input of every layer, and the gradient of its output, are
shown block by block. The device then never holds more than one block and the residual streams between all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch._functorch import config as functorch_config
from torch.utils.checkpoint import checkpoint

from ltx_core.denoiser.blocks import runner_of, set_runner
from ltx_core.denoiser.prepare import BlockCall, Hidden
from ltx_core.engine.activation_offload import ActivationOffload
from ltx_core.engine.block_offload import BlockOffload
from ltx_core.engine.compiling import keeping_attention


@cache
def _compiler() -> Any:
    """Made when it is wanted: PyTorch loads its whole compiler for it, which a run without one has no use for."""
    return torch.compile(keeping_attention, fullgraph=True, dynamic=False)


def _compiled_keeping_attention(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    made: tuple[torch.Tensor, torch.Tensor] = _compiler()(*arguments)
    return made


Forwards = Literal["eager", "compiled", "as in training"]
"""Functions that compiled blocks run where no gradient is wanted. `eager`: none, for few forwards, which take longer to
compile than to run. `compiled`: compiled without a backward, for sampling. `as in training`: by the very functions that
training has compiled, for forwards of a form that it has; what they keep for a backward is gone with the block."""


@dataclass(frozen=True)
class PolicyRunner:
    """Runs blocks under policies. An offloaded block is always recomputed: its weights are gone when gradients come."""

    checkpointed: frozenset[int] = frozenset()
    offloaded: BlockOffload | None = None
    activation_budget: float = 1.0
    """Inside compiled blocks that are not recomputed whole: the fraction of the activations that is kept beside the
    attentions' results; the rest, cheapest first, is recomputed."""
    offload: ActivationOffload | None = None
    """Of blocks that are not recomputed whole."""
    forwards: Forwards = "eager"

    def __call__(self, blocks: Sequence[Any], hidden: Hidden, call: BlockCall, span: range) -> Hidden:
        """The residual streams after the blocks of `span`."""
        if torch.is_grad_enabled():  # or the first block, whose input needs no gradient, is compiled on its own
            hidden = Hidden(
                *(part if part.requires_grad else part.detach().requires_grad_() for part in _parts(hidden))
            )
        for index in span:
            step = partial(self._run, index, blocks[index], call)
            if self._again(index) and torch.is_grad_enabled():
                made = checkpoint(step, hidden.video, hidden.audio, use_reentrant=False, preserve_rng_state=False)
            else:
                with self._keeping(index, blocks[index], call):
                    made = step(hidden.video, hidden.audio)
            hidden = Hidden(*made)
        return hidden

    def _keeping(self, index: int, block: Any, call: BlockCall) -> AbstractContextManager[None]:
        if self.offload is None or index not in self.offload or not torch.is_grad_enabled():
            return nullcontext()
        given = _tensors_in(call.of(index).values())
        return self.offload.keeping(index, (*block.parameters(), *block.buffers(), *given))

    def _again(self, index: int) -> bool:
        return index in self.checkpointed or (self.offloaded is not None and index in self.offloaded)

    def _run(
        self, index: int, block: Any, call: BlockCall, video: torch.Tensor, audio: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.offloaded is not None and index in self.offloaded:
            self.offloaded.enter(index)
        budget = 1.0 if self._again(index) else self.activation_budget  # or parts of it would be computed three times
        arguments = call.of(index)
        if getattr(block, "_compiled_call_impl", None) is None:
            return _streams(block(video, audio, **arguments))
        if torch.is_grad_enabled():
            return self._compute(block, video, audio, arguments, budget)
        if self.forwards == "as in training":
            return self._as_in_training(block, video, audio, arguments, budget)
        # the perturbed and the isolated pass of sampling are one forward in four each, and graphs of their own
        run = block if self.forwards == "compiled" and call.is_plain else block.forward
        return _streams(run(video, audio, **arguments))

    @staticmethod
    def _compute(
        block: Any, video: torch.Tensor, audio: torch.Tensor, arguments: dict[str, Any], budget: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The compiled block, for a backward."""
        if budget < 1:
            with functorch_config.patch(activation_memory_budget=budget):
                return _compiled_keeping_attention(block, video, audio, arguments)
        return _streams(block(video, audio, **arguments))

    def _as_in_training(
        self, block: Any, video: torch.Tensor, audio: torch.Tensor, arguments: dict[str, Any], budget: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same function as for a backward, which never comes. Guards of compiled functions look at whether
        gradients are on, and at which inputs want one."""
        with torch.enable_grad():
            made = self._compute(
                block, video.detach().requires_grad_(), audio.detach().requires_grad_(), arguments, budget
            )
        return made[0].detach(), made[1].detach()


def _streams(made: Any) -> tuple[torch.Tensor, torch.Tensor]:
    video, audio = made
    return video, audio


@contextmanager
def as_in_training(transformer: torch.nn.Module) -> Iterator[None]:
    """Inside, forwards without gradients run the functions that training has compiled; one of a form that it has not
    compiles it. Where blocks are not compiled, nothing changes."""
    before = runner_of(transformer)
    if isinstance(before, PolicyRunner):
        set_runner(transformer, replace(before, forwards="as in training"))
    try:
        yield
    finally:
        set_runner(transformer, before)


def _parts(hidden: Hidden) -> tuple[torch.Tensor, torch.Tensor]:
    return hidden.video, hidden.audio


def _tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among values and in tuples and lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from _tensors_in(value)


@dataclass(frozen=True)
class Felt:
    """The input of one layer, [M, K], and the gradient of its output, [M, N]."""

    layer: torch.nn.Module
    x: Tensor
    gradient: Tensor
    reaches_input: bool
    """True if that gradient goes on to the input: not to a text, from which nothing learns."""


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
    """Gradients of the watched layers, by name, once the backward is through. A layer that is not called has none."""
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
