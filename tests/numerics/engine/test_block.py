"""Loss and gradients of one block at the width of LTX-2 with 8-bit weights, against float32.

From an adapter's gradient back to the loss and forward to its layer lie at most six products in a row: query, key or
value, out, feed-forward up, feed-forward down, and those two again backward. Each adds a relative error e of two
rounded factors, e = 0.0125 for int8 and 0.0375 for e4m3 on Gaussian values (test_products.py: 38 and 28.5 dB). Errors
are independent, so gradients are off by at most e sqrt(6), and their cosine is 1 - 6 e^2 / 2. The residual stream goes
around every product, so less than that is what comes. A mean square moves by 6 e^2, and by twice the root of that over
the number of outputs, whose errors average out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.engine import batch, empty_transformer, forward_backward, with_lora
from ltx_core.adapters.lora import lora_parameters
from ltx_core.engine.assemble import assemble, set_policies
from ltx_core.engine.low_precision import SMALLEST_INT8_ROWS, Format, QuantisedLinear
from ltx_core.engine.options import EngineOptions, Precision

pytestmark = pytest.mark.extra
PRODUCTS = 6
ERROR = {"int8": 0.0125, "fp8": 0.0375}
VIDEO, SOUND, TEXT = 18, 17, 17
"""Tokens: no fewer, or int8 layers multiply dequantised weights."""
SIZE = (64, 96, SOUND, 1)
OUTPUTS = (VIDEO + SOUND) * 128


EXACT_TERMS = 1024
"""Products of two int8 whose sum float32 holds exactly: 1,024 times 127 squared is below 2^24."""


class QuickProducts(TorchDispatchMode):
    """A CPU without AMX takes 70 times as long for bfloat16 times a matrix that is not transposed as for float32, in
    which bfloat16 is summed anyway; and ten times as long for int8 as for float32, in which short sums are exact.
    """

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._int_mm.default:
            terms = zip(args[0].split(EXACT_TERMS, 1), args[1].split(EXACT_TERMS), strict=True)
            return sum((left.float() @ right.float()).to(torch.int32) for left, right in terms)
        if func is not torch.ops.aten.mm.default or args[0].dtype == torch.float32:
            return func(*args, **kwargs or {})
        return (args[0].float() @ args[1].float()).to(args[0].dtype)


@dataclass(frozen=True)
class Trained:
    """Loss and all gradients of one batch."""

    loss: float
    gradient: torch.Tensor


@cache
def weights() -> dict[str, torch.Tensor]:
    """Normal as benchmarks' are, but parts of one piece: drawing each would be most of the work."""
    empty = empty_transformer(1, False, "2.0").state_dict()
    largest = max(tensor.numel() for tensor in empty.values())
    pool = torch.empty(largest + 977 * len(empty), dtype=torch.bfloat16)
    pool.normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    made = {}
    for place, (name, tensor) in enumerate(sorted(empty.items())):
        drawn = pool[977 * place :][: tensor.numel()].view(tensor.shape)
        made[name] = torch.ones_like(drawn) if "norm" in name else drawn
    return made


@lru_cache(maxsize=1)
def assembled(precision: Precision, dtype: torch.dtype) -> Any:
    """The block with a LoRA, quantised once for both backwards."""
    transformer: Any = empty_transformer(1, False, "2.0")
    options = EngineOptions(precision=precision, fused=True)
    stored = weights()
    assemble(transformer, lambda names: {n: stored[n].to(dtype) for n in names}, options, device=torch.device("cpu"))
    with_lora(transformer)
    set_policies(transformer, options, None)
    return transformer


@cache
def trained(precision: Precision, low_backward: bool, dtype: torch.dtype) -> Trained:
    transformer = assembled(precision, dtype)
    transformer.zero_grad()
    quantised = [module for module in transformer.modules() if isinstance(module, QuantisedLinear)]
    assert bool(quantised) == (precision != "native")
    for linear in quantised:
        linear.precision = replace(linear.precision, low_backward=low_backward)
    data = {
        name: t if name == "sigma" or "positions" in name else t.to(dtype)
        for name, t in batch(transformer, SIZE, TEXT).items()
    }
    assert data["video"].shape[1] == VIDEO
    assert all(data[name].shape[1] >= SMALLEST_INT8_ROWS for name in ("video", "audio", "video_context"))
    with QuickProducts():
        loss = forward_backward(transformer, False)(data)["loss"]
    gradients = [p.grad.flatten() for _, p in sorted(lora_parameters(transformer).items()) if p.grad is not None]
    return Trained(float(loss), torch.cat(gradients))


def test_quick_products_are_the_products() -> None:
    half = [torch.randn(17, 256, dtype=torch.bfloat16), torch.randn(256, 48, dtype=torch.bfloat16)]
    whole = [
        torch.randint(-127, 128, (17, 4096), dtype=torch.int8),
        torch.randint(-127, 128, (4096, 48)).to(torch.int8),
    ]
    slow, exact = half[0] @ half[1], torch._int_mm(*whole)
    with QuickProducts():
        assert torch._int_mm(*whole).equal(exact)
        torch.testing.assert_close(half[0] @ half[1], slow, rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize("low_backward", [True, False])
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_block_of_real_width(kind: Format, low_backward: bool) -> None:
    exact, half = (trained("native", True, dtype) for dtype in (torch.float32, torch.bfloat16))
    found = trained(kind, low_backward, torch.bfloat16)
    power = PRODUCTS * ERROR[kind] ** 2
    off = (found.gradient - exact.gradient).norm() / exact.gradient.norm()
    assert off < power**0.5
    assert torch.nn.functional.cosine_similarity(found.gradient, exact.gradient, dim=0) > 1 - power / 2
    assert found.loss == pytest.approx(exact.loss, rel=power + 2 * (power / OUTPUTS) ** 0.5)
    assert off > (half.gradient - exact.gradient).norm() / exact.gradient.norm(), "8 bits cannot be above bf16"


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_the_backward_in_8_bits_adds_little(kind: Format) -> None:
    """Why it is the default: the forward's error dominates, so the error grows by less than a fifth."""
    exact = trained("native", True, torch.float32)
    off = [(trained(kind, low, torch.bfloat16).gradient - exact.gradient).norm() for low in (True, False)]
    assert off[0] < 1.2 * off[1]
