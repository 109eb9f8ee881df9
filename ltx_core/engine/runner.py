"""The policies over blocks: which are recomputed, and which are streamed."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch._functorch import config as functorch_config
from torch.utils.checkpoint import checkpoint

from ltx_core.denoiser.prepare import BlockCall, Hidden
from ltx_core.engine.offload import ActivationOffload
from ltx_core.engine.selective import keeping_attention
from ltx_core.engine.streaming import BlockStream


@cache
def _compiler() -> Any:
    """Made when it is wanted: PyTorch loads its whole compiler for it, which a run without one has no use for."""
    return torch.compile(keeping_attention, fullgraph=True, dynamic=False)


def _compiled_keeping_attention(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    made: tuple[torch.Tensor, torch.Tensor] = _compiler()(*arguments)
    return made


@dataclass(frozen=True)
class PolicyRunner:
    """Runs blocks under policies. A streamed block is always recomputed: its weights are gone when gradients come."""

    recompute: frozenset[int] = frozenset()
    stream: BlockStream | None = None
    activation_budget: float = 1.0
    """Inside compiled blocks that are not computed again whole: the share of the activations that is kept beside the
    attentions' results; the rest, cheapest first, is recomputed."""
    offload: ActivationOffload | None = None
    """Of blocks that are not computed again whole."""

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
        return index in self.recompute or (self.stream is not None and index in self.stream)

    def _run(
        self, index: int, block: Any, call: BlockCall, video: torch.Tensor, audio: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.stream is not None and index in self.stream:
            self.stream.enter(index)
        budget = 1.0 if self._again(index) else self.activation_budget  # or parts of it would be computed three times
        return self._compute(block, video, audio, call.of(index), budget)

    @staticmethod
    def _compute(
        block: Any, video: torch.Tensor, audio: torch.Tensor, arguments: dict[str, Any], budget: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The block as compiled, or, where no gradient is wanted, as it is: eval and the last check are few forwards
        of other graphs (without gradients, without LoRA), which take longer to compile than to run."""
        compiled = getattr(block, "_compiled_call_impl", None) is not None
        if compiled and torch.is_grad_enabled() and budget < 1:
            with functorch_config.patch(activation_memory_budget=budget):
                return _compiled_keeping_attention(block, video, audio, arguments)
        forward = block.forward if compiled and not torch.is_grad_enabled() else block
        video, audio = forward(video, audio, **arguments)
        return video, audio


def _parts(hidden: Hidden) -> tuple[torch.Tensor, torch.Tensor]:
    return hidden.video, hidden.audio


def _tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The tensors among values and in tuples and lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from _tensors_in(value)
