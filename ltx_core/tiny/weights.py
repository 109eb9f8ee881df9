"""Draw random weights of sensible scale, the same every time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BIAS_SPREAD = 0.02
OTHER_SPREAD = 0.1
"""Norm gains, gates, tables and registers keep what their class starts them with, moved by this much: no zero stays."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside; the caller's random state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def draw(module: nn.Module) -> None:
    """Fill every parameter so that signals keep their size: linear and convolution weights at 1 / sqrt(fan in).

    The classes' own starting values shrink signals layer by layer until biases drown them, which training repairs;
    here nothing is trained.
    """
    scaled: set[Tensor] = set()
    for layer in module.modules():
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d):
            continue
        layer.weight.normal_(0, fan_in(layer) ** -0.5)
        scaled.add(layer.weight)
        if layer.bias is not None:
            layer.bias.normal_(0, BIAS_SPREAD)
            scaled.add(layer.bias)
    for parameter in module.parameters():
        if parameter not in scaled:
            parameter.add_(torch.randn_like(parameter), alpha=OTHER_SPREAD)


def fan_in(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d) -> float:
    """Input values that each output value sums over."""
    if isinstance(layer, nn.ConvTranspose1d):
        return layer.in_channels * layer.kernel_size[0] / layer.stride[0]
    return layer.weight[0].numel()
