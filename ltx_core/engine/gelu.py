"""The feed-forward's activation, written so that a compiled kernel computes it in a third of the instructions.

tanh in float32 is a library call of some 30 instructions with a branch; a sigmoid is an exponential and a division. At
512x768x121 one block computes 100 million of them, forward and backward (docs/LOG.md, 2026-11-27).
"""

import math

import torch

OUTER, INNER = 2 * math.sqrt(2 / math.pi), 0.044715
"""Of gelu(x) = x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), equation 2 of arXiv:1606.08415 as PyTorch has it;
(1 + tanh(u))/2 is the sigmoid of 2u."""


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """Equals `gelu(x, approximate="tanh")` to rounding; computed in float32, given in the dtype of x."""
    wide = x.float()
    return (wide * torch.sigmoid(OUTER * wide * (1 + INNER * wide * wide))).to(x.dtype)


def use_sigmoid_gelu(blocks: torch.nn.Module) -> None:
    """Let the blocks' feed-forwards compute their activation so. Other activations stay as they are."""
    for module in blocks.modules():
        if getattr(module, "approximate", None) == "tanh" and hasattr(module, "gelu"):
            module.gelu = gelu_tanh  # type: ignore[assignment]
