"""The feed-forward's activation by a sigmoid: PyTorch's own to rounding, forward and backward, and in every block."""

import pytest
import torch
from torch.nn.functional import gelu

from ltx_core.engine.gelu import gelu_tanh, use_sigmoid_gelu
from ltx_core.engine.options import EngineOptions
from tests.unit.engine.conftest import build


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)])
def test_equals_pytorchs_to_rounding(dtype: torch.dtype, off: float) -> None:
    x = torch.linspace(-30, 30, 20001, dtype=dtype, requires_grad=True)
    ours, theirs = gelu_tanh(x), gelu(x, approximate="tanh")
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, atol=off, rtol=off)
    grad = torch.linspace(1, 2, 20001, dtype=dtype)
    (mine,), (wanted,) = (torch.autograd.grad(y, x, grad) for y in (ours, theirs))
    torch.testing.assert_close(mine, wanted, atol=4 * off, rtol=off)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_not_finite_stays_so(value: float) -> None:
    assert not gelu_tanh(torch.tensor([value])).isfinite().any()


def test_both_feed_forwards_of_a_block_use_it() -> None:
    block = build(EngineOptions()).transformer_blocks[0]
    assert block.ff.net[0].gelu is not gelu_tanh
    use_sigmoid_gelu(block)
    assert block.ff.net[0].gelu is gelu_tanh
    assert block.audio_ff.net[0].gelu is gelu_tanh
