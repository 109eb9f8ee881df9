"""Forward and backward of one batch as a CUDA graph: thousands of kernels started by one call.

At small batches the time of a step is the host's: starting a kernel takes longer than running it. A graph is captured
for each form of batch (names, shapes and dtypes of its tensors) and replayed for every batch of that form.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ltx_core.engine.block_offload import BlockOffload, OffloadState

Tensors = Mapping[str, torch.Tensor]
Work = Callable[[Tensors], dict[str, torch.Tensor]]
"""Runs forward and backward of a batch, adding to gradients; gives what the caller wants to know, such as losses."""
WARM_UPS = 2
"""Runs before a capture: the first compiles and picks kernels, the second allocates as all later ones do."""


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]
    trained: tuple[int, ...]
    """Indices of the parameters that this form of batch gives gradients."""
    before: OffloadState | None
    after: OffloadState | None
    """State of the offloaded blocks that the graph starts from, and leaves."""


class GradientBuffer:
    """All gradients in one piece of memory, so that their addresses are known to graphs."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.parameters = tuple(parameters)
        total = sum(p.numel() for p in self.parameters)
        self.flat = torch.zeros(total, dtype=self.parameters[0].dtype, device=self.parameters[0].device)
        sizes = [p.numel() for p in self.parameters]
        self.views = [part.view(p.shape) for part, p in zip(self.flat.split(sizes), self.parameters, strict=True)]

    def attach(self, indices: Sequence[int]) -> None:
        """Let these parameters' gradients be their slices; one that had none starts from zero."""
        fresh = [index for index in indices if self.parameters[index].grad is None]
        if len(fresh) == len(self.parameters):
            self.flat.zero_()  # one kernel and not one a parameter: at thousands of them it shows
        elif fresh:
            torch._foreach_zero_([self.views[index] for index in fresh])
        for index in fresh:
            self.parameters[index].grad = self.views[index]


class StepGraphs:
    """Replays `work` for batches of forms it has seen, and captures the others."""

    def __init__(
        self, work: Work, parameters: Sequence[torch.nn.Parameter], offloaded: BlockOffload | None = None
    ) -> None:
        self._work, self._offloaded = work, offloaded
        self._buffer = GradientBuffer(parameters)
        self._captured: dict[tuple[object, ...], _Captured] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._side = torch.cuda.Stream()

    def __call__(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        """Add the batch's gradients to those of the parameters; the results are overwritten by the next call."""
        form = _form(inputs)
        if form not in self._captured:
            self._captured[form] = self._capture(inputs)
        captured = self._captured[form]
        for name, tensor in inputs.items():
            captured.inputs[name].copy_(tensor, non_blocking=True)
        self._buffer.attach(captured.trained)
        if self._offloaded is not None and captured.before is not None:
            self._offloaded.restore(captured.before)
        captured.graph.replay()
        if self._offloaded is not None and captured.after is not None:
            self._offloaded.assume(captured.after)
        return captured.outputs

    def _capture(self, inputs: Tensors) -> _Captured:
        static = {name: tensor.clone() for name, tensor in inputs.items()}
        before = [p.grad for p in self._buffer.parameters]
        kept = self._buffer.flat.clone() if any(grad is not None for grad in before) else None
        trained = self._warm_up(static)
        for index, parameter in enumerate(self._buffer.parameters):
            parameter.grad = self._buffer.views[index] if index in trained else None
        gc.collect()
        torch.cuda.empty_cache()
        state = self._state()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local"):
            outputs = self._work(static)
            if self._offloaded is not None:
                self._offloaded.settle()
        for parameter, grad in zip(self._buffer.parameters, before, strict=True):
            parameter.grad = grad
        if kept is not None:
            self._buffer.flat.copy_(kept)
        return _Captured(graph, static, outputs, tuple(sorted(trained)), state, self._state())

    def _state(self) -> OffloadState | None:
        return None if self._offloaded is None else self._offloaded.state

    def _warm_up(self, static: Tensors) -> frozenset[int]:
        """Run outside the graph until nothing is new; gives which parameters got gradients, and drops those."""
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            for _ in range(WARM_UPS):
                for parameter in self._buffer.parameters:
                    parameter.grad = None
                self._work(static)
            if self._offloaded is not None:
                self._offloaded.settle()
        torch.cuda.current_stream().wait_stream(self._side)
        trained = frozenset(i for i, p in enumerate(self._buffer.parameters) if p.grad is not None)
        for parameter in self._buffer.parameters:
            parameter.grad = None
        torch.cuda.synchronize()
        return trained


def _form(inputs: Tensors) -> tuple[object, ...]:
    return tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in sorted(inputs.items()))
