"""8-bit layers without the rounding of what they multiply: for comparing two models that should be equal.

Why so: docs/decisions/float32_epilogue.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from ltx_core.engine.low_precision import QuantisedLinear


@contextmanager
def unrounded_inputs(model: torch.nn.Module) -> Iterator[None]:
    """8-bit layers multiply in the dtype of their input for the length of the block.

    Rounding inputs to 8 bits is a staircase: inputs that differ by one part in a million fall on other steps, so two
    equal models, whose adapters are rounded differently, differ by as much as the steps are high.
    """
    layers = [module for module in model.modules() if isinstance(module, QuantisedLinear)]
    before = [layer.precision for layer in layers]
    try:
        for layer in layers:
            layer.precision = replace(layer.precision, low_forward=False)
        yield
    finally:
        for layer, precision in zip(layers, before, strict=True):
            layer.precision = precision
