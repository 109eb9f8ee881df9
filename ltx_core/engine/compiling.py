"""Kernels: how the compiler writes them, what a compiled block keeps for its backward, how they repeat to the bit.

Left to itself it walks a row longer than 1,024 values in a loop, once for each reduction, and parks in float32 what the
next loop needs: in the feed-forward's backward 0.4 GB written and read for one clip. A row of a block's stream (4,096
values) or of its feed-forward (16,384) fits the registers of one thread block, so it is read once.

Whole compiled functions are kept in PyTorch's cache, forward and backward: tracing and cutting a block's graph takes
longer than anything else at a start. PyTorch leaves out what has an `autograd.Function` in it unless asked, since what
such a function does beside its graph is not in the key; ours (the 8-bit product, gelu) do nothing beside it.

PyTorch's partitioner takes a budget: the share of what it would keep by itself. It does not know that cuDNN's attention
is dear (torch 2.11 and 2.13: its list of intensive operations names two other kernels), so below a budget of 1 it would
compute every attention again. Here attentions are marked to be kept, whatever the budget.

The feed-forward's activation: a third of the instructions for a compiled kernel, and half of the memory until the
backward.

tanh in float32 is a library call of some 30 instructions with a branch; a sigmoid is an exponential and a division. At
512x768x121 one block computes 100 million of them, forward and backward (docs/dev/LOG.md, 2026-11-27).

The backward needs of the input only the slope at it. The slopes of gelu lie between -0.129 and 1.129, so 8 bits of
equal steps hold them to 0.0025; products beside it err by 0.2 % in bf16 and 2 to 4 % in 8 bits (few-bit backwards:
arXiv:2202.00441). Kept so, a block's largest tensor takes 96 MiB of that clip, not 192, and is not multiplied again.

By default some of a GPU's kernels let threads add as they come, cuDNN's attention backward among them. Flash
attention's and the plain one have an order if asked for.
"""

import gc
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from typing import Any

import torch
from torch._functorch import config as functorch_config
from torch.compiler import config as compiler_config
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

aten = torch.ops.aten
ATTENTIONS = frozenset(
    {
        aten._scaled_dot_product_cudnn_attention.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
    }
)
"""Replacements of `scaled_dot_product_attention`, by device and shape."""


def keeping_attention(
    block: Any, video: torch.Tensor, audio: torch.Tensor, arguments: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The block's two streams, results of its attentions kept for the backward. To be compiled."""
    made: tuple[torch.Tensor, torch.Tensor] = checkpoint(
        block.forward, video, audio, use_reentrant=False, context_fn=_contexts, **arguments
    )
    return made


def _kept(ctx: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """Attentions always; of the rest the partitioner chooses, by the budget."""
    return CheckpointPolicy.MUST_SAVE if operation in ATTENTIONS else CheckpointPolicy.PREFER_SAVE


_contexts = partial(create_selective_checkpoint_contexts, _kept)
_contexts.cache_hash = f"keeps {sorted(map(str, ATTENTIONS))}"  # type: ignore[attr-defined]
"""In the key of a compiled function that PyTorch keeps; without it none with a budget below 1 is kept."""


OUTER, INNER = 2 * math.sqrt(2 / math.pi), 0.044715
"""Of gelu(x) = x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), equation 2 of arXiv:1606.08415 as PyTorch has it;
(1 + tanh(u))/2 is the sigmoid of 2u."""
STEPS, ZERO = 200, 27
"""Steps to 1, and which of 256 values stands for 0: both ends of gelu have slopes that are exact."""


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """Equals `gelu(x, approximate="tanh")` to rounding; computed in float32, given in the dtype of x."""
    wide = x.float()
    return (wide * torch.sigmoid(OUTER * wide * (1 + INNER * wide * wide))).to(x.dtype)


def slope(x: torch.Tensor) -> torch.Tensor:
    """The derivative of `gelu_tanh` at x, float32."""
    wide = x.float()
    square = wide * wide
    share = torch.sigmoid(OUTER * wide * (1 + INNER * square))
    return share * (1 + wide * (1 - share) * OUTER * (1 + 3 * INNER * square))


class GeluOfSlopes(torch.autograd.Function):
    """gelu whose backward multiplies by slopes of 8 bits."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Of any shape."""
        ctx.save_for_backward((slope(x) * STEPS + (ZERO + 0.5)).to(torch.uint8))
        return gelu_tanh(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        """Of the same shape and dtype."""
        (kept,), (grad,) = ctx.saved_tensors, grads
        return (grad.float() * ((kept.float() - ZERO) * (1 / STEPS))).to(grad.dtype)


def gelu(x: torch.Tensor) -> torch.Tensor:
    """`gelu_tanh`; of 16-bit values the slopes are kept in 8 bits. In float32 they would be the largest error. Where
    nothing is compiled and no backward comes, PyTorch's own kernel: one in place of ten, each with a result."""
    if not torch.compiler.is_compiling() and not torch.is_grad_enabled():
        return functional.gelu(x, approximate="tanh")
    if x.dtype == torch.float32:
        return gelu_tanh(x)
    found: torch.Tensor = GeluOfSlopes.apply(x)
    return found


def use_quick_gelu(blocks: torch.nn.Module) -> None:
    """Let the blocks' feed-forwards compute their activation so. Other activations stay as they are."""
    for module in blocks.modules():
        if getattr(module, "approximate", None) == "tanh" and hasattr(module, "gelu"):
            module.gelu = gelu  # type: ignore[assignment]


@contextmanager
def compiled_here(compiled: bool) -> Iterator[None]:
    """Functions that are compiled inside, if any are, are forgotten at the end: layers change with other adapters, and
    guards would go on looking at those that are gone. PyTorch's cache has the functions still.

    A compiled block refers to itself, so that its weights are freed only when Python looks for cycles.
    """
    try:
        yield
    finally:
        if compiled:
            torch._dynamo.reset()
            gc.collect()


LONGEST_ROW = 16384
"""Values: 32 for each of 512 threads."""


@contextmanager
def importing_the_compiler() -> Iterator[None]:
    """A thread imports PyTorch's compiler, seconds of Python, while the block waits for disk and device; it is there at
    the block's end. The block itself imports nothing of torch."""
    with ThreadPoolExecutor(1, "importing the compiler") as thread:
        imported = thread.submit(import_module, "torch._inductor.compile_fx")
        yield
        imported.result()


def keep_compiled_functions() -> None:
    """From now on, in this thread (torch 2.13; in torch 2.11 in this process): whole compiled functions are kept.

    How long a row may be is not in PyTorch's key by itself: a function kept by another version would be slower.
    """
    functorch_config.autograd_cache_allow_custom_autograd_functions = True
    tag = f" rows of {LONGEST_ROW}"
    if tag not in compiler_config.cache_key_tag:
        compiler_config.cache_key_tag += tag


@cache
def keep_rows_in_registers() -> None:
    """From now on, in this process: reductions along memory hold rows of up to `LONGEST_ROW` values in registers.

    Set on the class that PyTorch asks: it compiles a backward when it first runs, on autograd's own thread, which sees
    neither a handler nor a configuration that another thread has set (torch 2.11 and 2.13).
    """
    from torch._inductor.choices import InductorChoices
    from torch._inductor.runtime.hints import ReductionHint
    from torch._inductor.virtualized import V

    by_itself = InductorChoices.should_use_persistent_reduction

    def chosen(features: Any, cooperative_reduction: bool) -> bool:
        if by_itself(features, cooperative_reduction):
            return True
        along_memory = features.get_reduction_hint() == ReductionHint.INNER and not cooperative_reduction
        return along_memory and V.graph.sizevars.statically_known_leq(features.reduction_numel, LONGEST_ROW)

    InductorChoices.should_use_persistent_reduction = staticmethod(chosen)  # type: ignore[method-assign]


ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "TORCHINDUCTOR_DETERMINISTIC": "1"}
"""cuBLAS without workspaces that streams share; no kernel chosen by how long it took (PyTorch's notes on
reproducibility)."""


def set_environment() -> None:
    """For this process and its children, before cuBLAS wakes up. PyTorch's compiler may have read its part before;
    `torch.use_deterministic_algorithms` sets that too."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """PyTorch uses no other kernels for the length of the block, and raises RuntimeError where it has none."""
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
