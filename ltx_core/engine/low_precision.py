"""Linear layers with frozen 8-bit weights, multiplied in 8 bits.

A weight [N, K] is stored as 8-bit values with a float32 scale for each of its N rows; an input's rows are scaled the
same way when it comes. Products accumulate in 32 bits, so the error is that of rounding the two factors.

Why so: docs/decisions/float32_epilogue.md.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, TypeGuard

import torch
from peft.tuners.lora import LoraLayer

from ltx_core.engine.options import MULTIPLE
from ltx_core.errors import ConfigError

Format = Literal["int8", "fp8"]
STORED: dict[Format, torch.dtype] = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}
LARGEST: dict[Format, float] = {"int8": 127.0, "fp8": 448.0}
SMALLEST_INT8_ROWS = 17
"""cuBLAS multiplies int8 only from this many rows on."""
LONGEST_FAST_SUM = 4096
"""Values up to which fp8 products are summed in the tensor cores' own registers, which keep fewer digits: on one H200 7
to 12 % faster, error of 4,096 products 3.748 % instead of 3.746 % (rounding to fp8 makes that); at 16,384 no faster."""
SMALLEST_PEAK = 1e-30
"""A row that peaks below this is zero. Gradients of a mean over a million values, times a weight's scale, are 1e-13."""


def quantise_rows(x: torch.Tensor, kind: Format) -> tuple[torch.Tensor, torch.Tensor]:
    """[M, K] to 8-bit [M, K] and float32 scales [M, 1]; x is about values times scales.

    A row with NaN or infinity gets that as its scale, so that its products are not finite either.
    """
    largest = LARGEST[kind]
    if x.is_meta:  # PyTorch takes milliseconds to say what comes out of each line below
        return torch.empty_like(x, dtype=STORED[kind]), x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)
    scale = x.abs().amax(dim=-1, keepdim=True).float().clamp(min=SMALLEST_PEAK) / largest
    scaled = x.float() * scale.reciprocal()  # one division a row, not one a value
    values = scaled.round().clamp(-largest, largest) if kind == "int8" else scaled.clamp(-largest, largest)
    return values.to(STORED[kind]), scale


def multiply(
    x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, kind: Format, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """x [M, K] times weight [N, K] transposed, times scale [N, 1] or [1, 1]: [M, N] in `dtype`, default that of x."""
    dtype = dtype or x.dtype
    if kind == "int8" and x.shape[0] < SMALLEST_INT8_ROWS:
        return wide_product(x, dequantise(weight, scale, x.dtype)).to(dtype)
    values, x_scale = quantise_rows(x, kind)
    if kind == "int8":
        product = torch._int_mm(values, weight.t()).float()
        return (product * x_scale * scale.t()).to(dtype)
    scale_b = scale.t().expand(1, weight.shape[0]).contiguous()
    fast = x.shape[1] <= LONGEST_FAST_SUM
    return torch._scaled_mm(values, weight.t(), scale_a=x_scale, scale_b=scale_b, out_dtype=dtype, use_fast_accum=fast)


def wide_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x [M, K] times weight [N, K] transposed as it was summed, float32: not rounded to the dtype of the two."""
    if x.is_cuda and x.dtype != torch.float32:
        return torch.mm(x, weight.t(), out_dtype=torch.float32)
    return x.float() @ weight.float().t()


def dequantise(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The values that an 8-bit weight stands for. All of its values are exact in bfloat16 too."""
    made = torch.empty(weight.shape, dtype=dtype, device=weight.device)  # a GPU rounds to it without a float32 copy
    return torch.mul(weight.to(dtype), scale, out=made)


def _dequantised_again(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The same in a backward. Written another way, or a compiler takes the two for one, and keeps all weights of all
    blocks as they were dequantised in the forward."""
    return (weight.float() * scale).to(dtype)


@dataclass(frozen=True)
class LowPrecision:
    """The way in which an 8-bit layer stores and multiplies."""

    kind: Format
    low_backward: bool = True
    """Compute the gradient of the input in 8 bits too."""
    low_forward: bool = True
    """False: 8 bits hold weights alone, which are dequantised for each product."""


NONE: Mapping[str, LowPrecision | None] = MappingProxyType({})


class FrozenProduct(torch.autograd.Function):
    """y = x W^T of a frozen W, held in 8 bits or not. Kept for the backward is W as it is held, and nothing else."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        scale: torch.Tensor | None,
        precision: LowPrecision | None,
        wide: bool,
    ) -> torch.Tensor:
        """x [M, K] to [M, N], `wide` in float32, else in the dtype of x. Without a `scale`, W is of that dtype."""
        ctx.save_for_backward(weight, scale)
        ctx.precision, ctx.dtype = precision, x.dtype
        if scale is not None and precision is not None and precision.low_forward:
            return multiply(x, weight, scale, precision.kind, torch.float32 if wide else x.dtype)
        held = weight if scale is None else dequantise(weight, scale, x.dtype)
        return wide_product(x, held) if wide else x @ held.t()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradient [M, K]. The scales of W's rows are multiplied into the gradient, whose columns they belong to."""
        weight, scale = ctx.saved_tensors
        grad = grads[0].to(ctx.dtype)
        if scale is None:
            return grad @ weight, None, None, None, None
        if not ctx.precision.low_backward:
            return grad @ _dequantised_again(weight, scale, grad.dtype), None, None, None, None
        scaled = (grad.float() * scale.t()).to(grad.dtype)
        one = torch.ones(1, 1, device=grad.device)
        return multiply(scaled, weight.t().contiguous(), one, ctx.precision.kind), None, None, None, None


def supported(kind: Format, device: torch.device) -> bool:
    """Return whether the device multiplies this format: int8 from Turing on, e4m3 with row scales from Hopper on."""
    if device.type != "cuda":
        return True
    capability = torch.cuda.get_device_capability(device)
    return capability >= ((7, 5) if kind == "int8" else (9, 0))


def precision_on(device: torch.device, kind: Format, *, products: bool = True, low_backward: bool) -> LowPrecision:
    """Return how a device computes with 8-bit weights: dequantised without `products`, or where it has none of that
    format."""
    fast = products and supported(kind, device)
    return LowPrecision(kind, low_backward=low_backward and fast, low_forward=fast)


class QuantisedLinear(torch.nn.Linear):
    """A frozen linear layer with 8-bit weights. A torch.nn.Linear, so that adapters find it."""

    scale: torch.Tensor

    def __init__(self, linear: torch.nn.Linear, precision: LowPrecision) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.precision = precision
        values, scale = quantise_rows(linear.weight.data, precision.kind)
        self.weight = torch.nn.Parameter(values, requires_grad=False)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., K] to [..., N] in the dtype of x."""
        out = self._product(x, wide=False)
        return out if self.bias is None else out + self.bias.to(x.dtype)

    def unrounded(self, x: torch.Tensor) -> torch.Tensor:
        """The same in float32, before it is rounded."""
        out = self._product(x, wide=True)
        return out if self.bias is None else out + self.bias

    def _product(self, x: torch.Tensor, *, wide: bool) -> torch.Tensor:
        flat = x.reshape(-1, self.in_features)
        out: torch.Tensor = FrozenProduct.apply(flat, self.weight, self.scale, self.precision, wide)
        return out.view(*x.shape[:-1], self.out_features)


def quantise_linears(
    block: torch.nn.Module, precision: LowPrecision, others: Mapping[str, LowPrecision | None] = NONE
) -> int:
    """Replace the block's linear layers in place, and say how many. Narrow ones (gates) stay as they are.

    `others` are those that are computed another way, by their names in the block, or, with None, stay as they are.

    Raises:
        ConfigError: the block has an adapter already.
    """
    replaced = 0
    if any(isinstance(module, LoraLayer) for module in block.modules()):
        raise ConfigError("quantise before adding an adapter: its layers stay in float32")
    for name, linear in list(quantisable(block)):
        if (own := others.get(name, precision)) is not None:
            parent, _, leaf = name.rpartition(".")
            setattr(block.get_submodule(parent), leaf, QuantisedLinear(linear, own))
            replaced += 1
    return replaced


def quantisable(block: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Linear]]:
    """The linear layers that 8 bits can hold, by their names in the block."""
    for name, module in block.named_modules():
        if is_quantisable(module):
            yield name, module


def is_quantisable(module: torch.nn.Module) -> TypeGuard[torch.nn.Linear]:
    """True if 8 bits can hold it: a plain linear layer that is not narrow, as gates are."""
    return type(module) is torch.nn.Linear and not (module.in_features % MULTIPLE or module.out_features % MULTIPLE)


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
