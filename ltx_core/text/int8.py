"""Linear layers that keep their weights in 8 bits and multiply in the input's dtype.

Inputs are not quantised: Gemma's have outliers that row scales would drown the rest for. A pack has so many rows that
unpacking a weight costs a few per cent of the product that it is for.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LARGEST = 127


class Int8Linear(torch.nn.Module):
    """A frozen linear layer: int8 [N, K] and one scale for each of its N rows."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        values, scale = quantise_rows(linear.weight.data)
        self.register_buffer("weight", values)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., K] to [..., N]."""
        product = functional.linear(inputs, self.weight.to(inputs.dtype)) * self.scale.to(inputs.dtype)
        return product if self.bias is None else product + self.bias


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[N, K] to int8 [N, K] and scales [N] in the weight's dtype, in which they are exact: a row is values times scale.

    The largest error of a value is half a scale, and a scale is a row's largest value over 127, a little more for its
    own rounding.
    """
    largest = weight.abs().amax(dim=1).float().clamp(min=torch.finfo(torch.bfloat16).tiny * LARGEST)
    scale = (largest / LARGEST).to(weight.dtype)
    values = (weight.float() / scale.float()[:, None]).round().clamp(-LARGEST, LARGEST)
    return values.to(torch.int8), scale


def quantise_linears(layer: Any) -> int:
    """Replace every linear layer in a module; says how many."""
    replaced = 0
    for parent in list(layer.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(parent, name, Int8Linear(child))
                replaced += 1
    return replaced
