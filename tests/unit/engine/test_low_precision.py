"""Linear layers with 8-bit weights: zero, tiny, huge and non-finite values, odd sizes, and what they are stored as."""

import math
from typing import get_args

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.adapters.lora import add_lora
from ltx_core.engine.low_precision import (
    Format,
    FrozenProduct,
    LowPrecision,
    QuantisedLinear,
    dequantise,
    multiply,
    quantise_linears,
    quantise_rows,
    unrounded_inputs,
)
from ltx_core.errors import ConfigError
from tests.unit.engine.conftest import ARGUMENTS

pytestmark = pytest.mark.whole

FORMATS = get_args(Format)
ROUNDING = {"int8": 0.02, "fp8": 0.05}
"""Largest relative error of one product of Gaussian factors: see tests/numerics/engine."""
each_format = pytest.mark.parametrize("kind", FORMATS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)


def layer(kind: Format, *, low_forward: bool = True, bias: bool = True) -> tuple[torch.nn.Linear, QuantisedLinear]:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48, bias=bias)
    return linear, QuantisedLinear(linear, LowPrecision(kind, low_forward=low_forward))


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.detach().float() - wanted).norm() / wanted.norm())


@each_format
@each_dtype
@pytest.mark.parametrize("num_rows", [1, 3, 16, 17, 31])
@pytest.mark.parametrize("low_forward", [True, False])
def test_products_of_any_number_of_rows(kind: Format, dtype: torch.dtype, num_rows: int, low_forward: bool) -> None:
    linear, quantised = layer(kind, low_forward=low_forward)
    x = torch.randn(1, num_rows, 64)
    made = quantised(x.to(dtype))
    assert made.dtype == dtype
    assert made.shape == (1, num_rows, 48)
    assert relative(made, linear(x).detach()) < ROUNDING[kind]


@each_format
@pytest.mark.parametrize("size", [1e-28, 1e-13, 1.0, 1e28])
def test_rows_of_any_size_keep_their_digits(kind: Format, size: float) -> None:
    """Gradients of a mean over many values are tiny, and as exact as others."""
    rows = torch.randn(20, 64) * size
    values, scale = quantise_rows(rows, kind)
    assert relative(values.float() * scale / size, rows / size) < ROUNDING[kind]


@each_format
@pytest.mark.parametrize("num_rows", [4, 20])
def test_rows_of_zeros_stay_zero(kind: Format, num_rows: int) -> None:
    x = torch.randn(num_rows, 64)
    x[1] = 0
    weight, scale = quantise_rows(torch.cat([torch.zeros(16, 64), torch.randn(16, 64)]), kind)
    made = multiply(x, weight, scale, kind)
    assert made.isfinite().all()
    assert made[1].eq(0).all()
    assert made[:, :16].eq(0).all()
    assert made[0, 16:].ne(0).all()


@each_format
@each_dtype
@pytest.mark.parametrize("num_rows", [4, 20])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_visible(kind: Format, dtype: torch.dtype, num_rows: int, bad: float) -> None:
    """In the forward and in the gradient: the step's check of the loss has to see it. Other rows are not touched."""
    weight, scale = quantise_rows(torch.randn(32, 64), kind)
    x = torch.randn(num_rows, 64, dtype=dtype)
    x[1, 5] = bad
    made = multiply(x, weight, scale, kind)
    assert not made[1].isfinite().any()
    assert made[[0, 2, 3]].isfinite().all()
    x = torch.randn(num_rows, 64, dtype=dtype).requires_grad_()
    gradient = torch.randn(num_rows, 32, dtype=dtype)
    gradient[1, 5] = bad
    FrozenProduct.apply(x, weight, scale, LowPrecision(kind), False).backward(gradient)
    assert x.grad is not None
    assert not x.grad[1].isfinite().any()
    assert x.grad[[0, 2, 3]].isfinite().all()


@each_format
def test_weights_that_are_not_finite_stay_visible(kind: Format) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32)
    linear.weight.data[3, 7] = math.nan
    made = QuantisedLinear(linear, LowPrecision(kind))(torch.randn(20, 64))
    assert not made[:, 3].isfinite().any()
    assert made[:, 4].isfinite().all()


@each_format
@pytest.mark.parametrize("low_backward", [True, False])
def test_gradient_of_the_input(kind: Format, low_backward: bool) -> None:
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(64, 48), torch.randn(20, 64).requires_grad_()
    gradient = torch.randn(20, 48)
    linear(x).backward(gradient)
    wanted, x.grad = x.grad, None
    QuantisedLinear(linear, LowPrecision(kind, low_backward=low_backward))(x).backward(gradient)
    assert wanted is not None
    assert x.grad is not None
    assert relative(x.grad, wanted) < ROUNDING[kind]


@each_format
@pytest.mark.parametrize("bias", [True, False])
def test_stored_and_loaded_again(kind: Format, bias: bool) -> None:
    _, quantised = layer(kind, bias=bias)
    with torch.device("meta"):
        again = QuantisedLinear(torch.nn.Linear(64, 48, bias=bias), LowPrecision(kind))
    again.load_state_dict(quantised.state_dict(), strict=True, assign=True)
    assert set(again.state_dict()) == {"weight", "scale"} | ({"bias"} if bias else set())
    assert not again.weight.requires_grad
    x = torch.randn(20, 64)
    assert again(x).equal(quantised(x))


def test_odd_sizes_stay_as_they_are() -> None:
    layers = {"even": torch.nn.Linear(32, 16), "gate": torch.nn.Linear(32, 2), "odd": torch.nn.Linear(20, 16)}
    block = torch.nn.ModuleDict(layers)
    assert quantise_linears(block, LowPrecision("int8")) == 1
    assert {name: type(module) for name, module in block.items()} == {
        "even": QuantisedLinear,
        "gate": torch.nn.Linear,
        "odd": torch.nn.Linear,
    }


def test_layers_with_an_adapter_are_refused() -> None:
    transformer = LTX2VideoTransformer3DModel(**{**ARGUMENTS, "num_layers": 1})
    add_lora(transformer, ["transformer_blocks.0.attn1.to_q"], rank=2, alpha=2, seed=0)
    with pytest.raises(ConfigError, match="before adding an adapter"):
        quantise_linears(transformer.transformer_blocks[0], LowPrecision("int8"))


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_inputs_are_left_unrounded_for_a_while(kind: Format) -> None:
    torch.manual_seed(0)
    layer, x = QuantisedLinear(torch.nn.Linear(64, 32), LowPrecision(kind)), torch.randn(40, 64)
    rounded = layer(x)
    with unrounded_inputs(layer):
        smooth = layer(x)
    weight = dequantise(layer.weight, layer.scale, torch.float32)
    torch.testing.assert_close(smooth, torch.nn.functional.linear(x, weight, layer.bias))
    assert (rounded - smooth).norm() > 1e-3 * smooth.norm()
    assert torch.equal(layer(x), rounded)


@each_format
@each_dtype
def test_weights_alone_round_no_input(kind: Format, dtype: torch.dtype) -> None:
    """Forward and backward are the products with what the weights stand for."""
    linear, quantised = layer(kind, low_forward=False)
    quantised.precision = LowPrecision(kind, low_backward=False, low_forward=False)
    weight = dequantise(quantised.weight, quantised.scale, dtype)
    x, gradient = torch.randn(20, 64).to(dtype).requires_grad_(), torch.randn(20, 48).to(dtype)
    quantised(x).backward(gradient)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, gradient @ weight)
    torch.testing.assert_close(quantised(x.detach()), x.detach() @ weight.t() + linear.bias.detach().to(dtype))


@each_format
def test_weights_alone_keep_nothing_but_themselves_for_the_backward(kind: Format) -> None:
    """In 16 bits they would take the memory that 8 bits are to save."""
    _, quantised = layer(kind, low_forward=False)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        quantised(torch.randn(20, 64, dtype=torch.bfloat16, requires_grad=True))
    assert {tensor.data_ptr() for tensor in kept} == {quantised.weight.data_ptr(), quantised.scale.data_ptr()}


@each_format
def test_an_outlier_spoils_products_and_not_weights_alone(kind: Format) -> None:
    """Twelve residual layers of what adaLN makes: two channels 100 times as large as the others."""

    def through(precision: LowPrecision | None) -> torch.Tensor:
        torch.manual_seed(0)
        hidden, scale = torch.randn(256, 512), torch.ones(512)
        scale[[5, 77]] = 100
        for _ in range(12):
            linear: torch.nn.Module = torch.nn.Linear(512, 512, bias=False)
            torch.nn.init.normal_(linear.weight, std=512**-0.5)  # type: ignore[arg-type]
            with torch.no_grad():
                linear.weight[:, [5, 77]] = 0  # type: ignore[index]  # so that what is lost is of all the others
                assert isinstance(linear, torch.nn.Linear)
                used = linear if precision is None else QuantisedLinear(linear, precision)
                hidden = hidden + used(torch.nn.functional.layer_norm(hidden, (512,)) * scale)
        return hidden

    exact = through(None)
    products = relative(through(LowPrecision(kind)), exact)
    weights = relative(through(LowPrecision(kind, low_backward=False, low_forward=False)), exact)
    assert weights < (0.02 if kind == "int8" else 0.04)
    assert products > 0.15 if kind == "int8" else products < 0.06
