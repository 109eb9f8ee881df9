"""How PyTorch's compiler is asked to write the blocks' kernels, and to find them again in the next process.

Left to itself it walks a row longer than 1,024 values in a loop, once for each reduction, and parks in float32 what the
next loop needs: in the feed-forward's backward 0.4 GB written and read for one clip. A row of a block's stream (4,096
values) or of its feed-forward (16,384) fits the registers of one thread block, so it is read once.

Whole compiled functions are kept in PyTorch's cache, forward and backward: tracing and cutting a block's graph takes
longer than anything else at a start. PyTorch leaves out what has an `autograd.Function` in it unless asked, since what
such a function does beside its graph is not in the key; ours (the 8-bit product, gelu) do nothing beside it.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

from torch._functorch import config as functorch_config
from torch.compiler import config as compiler_config

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
