"""The feed-forward's activation by a sigmoid: PyTorch's own to rounding, forward and backward, and in every block."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import gelu

from ltx_core.engine.compiling import gelu as quick
from ltx_core.engine.compiling import gelu_tanh, use_quick_gelu
from ltx_core.engine.options import EngineOptions
from tests.unit.engine.conftest import build


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)])
def test_equals_pytorchs_to_rounding(dtype: torch.dtype, off: float) -> None:
    x = torch.linspace(-30, 30, 20001, dtype=dtype, requires_grad=True)
    ours, theirs = quick(x), gelu(x, approximate="tanh")
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, atol=off, rtol=off)
    grad = torch.linspace(1, 2, 20001, dtype=dtype)
    (mine,), (wanted,) = (torch.autograd.grad(y, x, grad) for y in (ours, theirs))
    torch.testing.assert_close(mine, wanted, atol=4 * off, rtol=off)


def test_of_16_bits_the_slopes_are_kept_in_8() -> None:
    """To half a step of 1/200, and both ends exactly: what is far below zero gets no gradient at all."""
    x = torch.linspace(-6, 6, 4001, dtype=torch.bfloat16, requires_grad=True)
    kept: list[torch.Tensor] = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        y = quick(x)
    assert [tensor.dtype for tensor in kept] == [torch.uint8]
    (found,) = torch.autograd.grad(y, x, torch.ones_like(y))
    exact = x.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(gelu(exact, approximate="tanh"), exact, torch.ones_like(exact))
    off, small = (found - wanted).abs(), wanted.abs() < 0.5
    assert off.max() <= 0.5 / 200 + 2**-8  # and a bfloat16's rounding, which is less of small ones
    assert off[small].max() <= 0.5 / 200 + 2**-10
    assert found[0] == 0
    assert found[-1] == 1


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_stays_so(value: float) -> None:
    assert not gelu_tanh(torch.tensor([value])).isfinite().any()


def test_both_feed_forwards_of_a_block_use_it() -> None:
    block = build(EngineOptions()).transformer_blocks[0]
    assert block.ff.net[0].gelu is not quick
    use_quick_gelu(block)
    assert block.ff.net[0].gelu is quick
    assert block.audio_ff.net[0].gelu is quick
