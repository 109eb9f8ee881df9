"""Signal to quantisation noise of 8-bit products at the widths of LTX-2, against what arithmetic says it must be.

A value rounded to a grid of step u is off by u^2 / 12 in the mean square (Bennett 1948). int8's step is the same for a
row; e4m3's is an eighth of the power of two below a value. The errors of a product's two factors are independent, so
their relative powers add. A product may miss that sum by 5 %: it is a mean over some 1024 x 200 values.
"""

import math
from typing import get_args

import pytest
import torch

from ltx_core.engine.low_precision import LARGEST, Format, multiply, quantise_rows

pytestmark = pytest.mark.numerics
MANTISSA_STEPS, SMALLEST_EXPONENT = 8, -6
"""Of e4m3."""
TOKENS = 200
WIDTHS = [(1024, 4096), (1024, 16384)]
"""[N, K], K as in the attention projections and in the feed-forward's second layer; N is only how many are averaged."""


def noise(x: torch.Tensor, kind: Format) -> float:
    """Power of the rounding error of `x` [M, K] relative to its own, by arithmetic."""
    scale = x.abs().amax(dim=1, keepdim=True) / LARGEST[kind]
    step = scale
    if kind == "fp8":
        exponent = (x.abs() / scale).clamp(min=2.0**SMALLEST_EXPONENT).log2().floor()
        step = scale * 2**exponent / MANTISSA_STEPS
    return float(step.expand_as(x).square().mean() / 12 / x.square().mean())


def decibels(power: float) -> float:
    return -10 * math.log10(power)


def measured(x: torch.Tensor, weight: torch.Tensor, kind: Format) -> float:
    """SQNR in dB of a product of bf16 factors, against their exact product."""
    values, scale = quantise_rows(weight, kind)
    exact = x.float() @ weight.float().t()
    return decibels(float((multiply(x, values, scale, kind).float() - exact).square().sum() / exact.square().sum()))


@pytest.mark.parametrize("kind", get_args(Format))
@pytest.mark.parametrize(
    "outliers", [pytest.param(0, id="gaussian", marks=pytest.mark.extra), pytest.param(8, id="outliers")]
)
@pytest.mark.parametrize(("rows", "width"), WIDTHS)
def test_a_product_is_as_exact_as_arithmetic_allows(kind: Format, outliers: int, rows: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(TOKENS, width, generator=generator)
    x[:, torch.randperm(width, generator=generator)[:outliers]] *= 50
    x = x.bfloat16()
    weight = (torch.randn(rows, width, generator=generator) * 0.02).bfloat16()
    expected = decibels(noise(x.float(), kind) + noise(weight.float(), kind))
    assert measured(x, weight, kind) == pytest.approx(expected, abs=0.75 if outliers else 0.25)
    floors = {("int8", 0): 37, ("fp8", 0): 28, ("int8", 8): 16, ("fp8", 8): 28}
    assert expected > floors[kind, outliers], "rows of int8 lose what outliers take; e4m3 does not care"
