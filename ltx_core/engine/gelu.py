"""The feed-forward's activation: a third of the instructions for a compiled kernel, and half of the memory until the
backward.

tanh in float32 is a library call of some 30 instructions with a branch; a sigmoid is an exponential and a division. At
512x768x121 one block computes 100 million of them, forward and backward (docs/dev/LOG.md, 2026-11-27).

The backward needs of the input only the slope at it. The slopes of gelu lie between -0.129 and 1.129, so 8 bits of
equal steps hold them to 0.0025; products beside it err by 0.2 % in bf16 and 2 to 4 % in 8 bits (few-bit backwards:
arXiv:2202.00441). Kept so, a block's largest tensor takes 96 MiB of that clip, not 192, and is not multiplied again.
"""

import math
from typing import Any

import torch

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
    """`gelu_tanh`; of 16-bit values the slopes are kept in 8 bits. In float32 they would be the largest error."""
    if x.dtype == torch.float32:
        return gelu_tanh(x)
    found: torch.Tensor = GeluOfSlopes.apply(x)
    return found


def use_quick_gelu(blocks: torch.nn.Module) -> None:
    """Let the blocks' feed-forwards compute their activation so. Other activations stay as they are."""
    for module in blocks.modules():
        if getattr(module, "approximate", None) == "tanh" and hasattr(module, "gelu"):
            module.gelu = gelu  # type: ignore[assignment]
