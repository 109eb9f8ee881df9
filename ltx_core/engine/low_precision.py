"""Linear layers with frozen 8-bit weights, multiplied in 8 bits.

A weight [N, K] is stored as 8-bit values with a float32 scale for each of its N rows; an input's rows are scaled the
same way when it comes. Products accumulate in 32 bits, so the error is that of rounding the two factors.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from peft.tuners.lora import LoraLayer

from ltx_core.errors import ConfigError

Format = Literal["int8", "fp8"]
STORED: dict[Format, torch.dtype] = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}
LARGEST: dict[Format, float] = {"int8": 127.0, "fp8": 448.0}
MULTIPLE = 16
"""Both sides of a weight must be multiples of this for the 8-bit products of all GPUs."""
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


def multiply(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, kind: Format) -> torch.Tensor:
    """x [M, K] times weight [N, K] transposed, times scale [N, 1] or [1, 1]: [M, N] in the dtype of x."""
    if kind == "int8" and x.shape[0] < SMALLEST_INT8_ROWS:
        return x @ (weight.float() * scale).to(x.dtype).t()
    values, x_scale = quantise_rows(x, kind)
    if kind == "int8":
        product = torch._int_mm(values, weight.t()).float()
        return (product * x_scale * scale.t()).to(x.dtype)
    scale_b = scale.t().expand(1, weight.shape[0]).contiguous()
    fast = x.shape[1] <= LONGEST_FAST_SUM
    return torch._scaled_mm(
        values, weight.t(), scale_a=x_scale, scale_b=scale_b, out_dtype=x.dtype, use_fast_accum=fast
    )


class LowPrecisionProduct(torch.autograd.Function):
    """y = x W^T with an 8-bit W. The gradient of x is computed in 8 bits too, or with W dequantised."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, kind: Format, low_backward: bool
    ) -> torch.Tensor:
        """x [M, K] to [M, N]."""
        ctx.save_for_backward(weight, scale)
        ctx.kind, ctx.low_backward = kind, low_backward
        return multiply(x, weight, scale, kind)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradient [M, K]. The scales of W's rows are multiplied into the gradient, whose columns they belong to."""
        weight, scale = ctx.saved_tensors
        (grad,) = grads
        if ctx.low_backward:
            scaled = (grad.float() * scale.t()).to(grad.dtype)
            one = torch.ones(1, 1, device=grad.device)
            return multiply(scaled, weight.t().contiguous(), one, ctx.kind), None, None, None, None
        return grad @ dequantise(weight, scale, grad.dtype), None, None, None, None


def dequantise(weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The values that an 8-bit weight stands for."""
    return (weight.float() * scale).to(dtype)


@dataclass(frozen=True)
class LowPrecision:
    """How 8-bit layers store and multiply."""

    kind: Format
    low_backward: bool = True
    """Compute the gradient of the input in 8 bits too."""
    low_forward: bool = True
    """False where the device has no 8-bit products: weights are dequantised for each product."""


def supported(kind: Format, device: torch.device) -> bool:
    """Whether the device multiplies this format: int8 from Turing on, e4m3 with row scales from Hopper on."""
    if device.type != "cuda":
        return True
    capability = torch.cuda.get_device_capability(device)
    return capability >= ((7, 5) if kind == "int8" else (9, 0))


def precision_on(device: torch.device, kind: Format, *, low_backward: bool) -> LowPrecision:
    """How a device computes with 8-bit weights: where it has no products of that format, dequantised."""
    fast = supported(kind, device)
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
        flat = x.reshape(-1, self.in_features)
        if self.precision.low_forward:
            out = LowPrecisionProduct.apply(
                flat, self.weight, self.scale, self.precision.kind, self.precision.low_backward
            )
        else:
            out = flat @ dequantise(self.weight, self.scale, x.dtype).t()
        out = out.view(*x.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias.to(x.dtype)


def quantise_linears(block: torch.nn.Module, precision: LowPrecision) -> int:
    """Replace the block's linear layers in place, and say how many. Narrow ones (gates) stay as they are.

    Raises:
        ConfigError: the block has an adapter already.
    """
    replaced = 0
    if any(isinstance(module, LoraLayer) for module in block.modules()):
        raise ConfigError("quantise before adding an adapter: its layers stay in float32")
    for parent in list(block.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and _fits(child):
                setattr(parent, name, QuantisedLinear(child, precision))
                replaced += 1
    return replaced


def _fits(linear: torch.nn.Linear) -> bool:
    return linear.in_features % MULTIPLE == 0 and linear.out_features % MULTIPLE == 0
