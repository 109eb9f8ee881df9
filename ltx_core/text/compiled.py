"""The text encoder's feed-forward and norms compiled: most of its time that is not in matrix products.

Compiled once for all layers, because a pack has one shape. Equal to eager to rounding.
"""

from typing import Any, Literal

import torch
import torch._dynamo

COMPILE_SECONDS = 7.0
"""What it costs, about, on the machine of docs/benchmarks.md."""
SAVED_SECONDS_PER_TOKEN = 1.36e-5
MOST_FORMS = 32
"""Kinds of modules and shapes among them; all count as one function to PyTorch, which gives up after 8 by itself."""
COMPILED = ("MLP", "RMSNorm")
"""Ends of the names of transformers' classes."""


def worth_compiling(num_tokens: int, wanted: bool | Literal["auto"], device: torch.device) -> bool:
    """`auto`: on a GPU, where what compiling saves for so many tokens is more than what it costs."""
    if wanted == "auto":
        return device.type == "cuda" and num_tokens * SAVED_SECONDS_PER_TOKEN > COMPILE_SECONDS
    return wanted


def compile_layers(model: Any) -> int:
    """Compile in place; says how many modules."""
    chosen = [module for module in model.layers.modules() if type(module).__name__.endswith(COMPILED)]
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_FORMS)
    for module in chosen:
        module.compile(fullgraph=True, dynamic=False)
    return len(chosen)
