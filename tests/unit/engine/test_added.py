"""What a LoRA adds to a layer's result is rounded together with it, so one that has only begun counts in bfloat16 too.

The measure: how much of what the adapter adds is in the difference of two results, with and without it. By chance it is
off by a digit of the result over the root of the number of results and over what is added, here some 3 %.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from ltx_core.adapters.lora import add_lora, lora_layers
from ltx_core.engine.low_precision import Format, LowPrecision, QuantisedLinear
from ltx_core.engine.projection import project, project_together
from tests.tiny_transformer import build

WIDTH, ROWS = 128, 1024
BY_CHANCE = 0.12
"""Four times what rounding does by chance."""
NAME = "transformer_blocks.0.attn1.to_q"
Make = Callable[[torch.nn.Linear], torch.nn.Module]
HELD: dict[str, Make] = {
    "native": lambda linear: linear,
    **{
        f"{kind} {'products' if products else 'weights'}": lambda linear, kind=kind, products=products: QuantisedLinear(  # type: ignore[misc]
            linear, LowPrecision(kind, low_backward=products, low_forward=products)
        )
        for kind in ("int8", "fp8")
        for products in (True, False)
    },
}


def transformer(held: Make, *, bias: bool, dtype: torch.dtype = torch.bfloat16) -> Any:
    """One whose first query has a LoRA that has taken one step of 1e-4; its results are some 1 in size."""
    made = build("2.0", channels=4, audio_channels=4, width=WIDTH, audio_width=32, num_layers=1)
    torch.manual_seed(0)
    linear = torch.nn.Linear(WIDTH, WIDTH, bias=bias)
    torch.nn.init.normal_(linear.weight, std=WIDTH**-0.5)
    made.to(dtype)
    made.transformer_blocks[0].attn1.to_q = held(linear.to(dtype).requires_grad_(False))
    return made


def young(made: Any) -> Any:
    """The layer, with that LoRA."""
    add_lora(made, [NAME], rank=4, alpha=4, seed=0)
    layer = lora_layers(made)[NAME]
    layer.lora_B["default"].weight.data = 1e-4 * torch.randn(WIDTH, 4).sign()
    return layer


def inputs(dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(1, ROWS, WIDTH, generator=torch.Generator().manual_seed(1)).to(dtype)


def counted(with_it: torch.Tensor, without: torch.Tensor, added: torch.Tensor) -> float:
    """The share of what is added that is in the result."""
    difference, wanted = (with_it.double() - without.double()).flatten(), added.double().flatten()
    return float(difference @ wanted / (wanted @ wanted))


def added_by(layer: Any, x: torch.Tensor) -> torch.Tensor:
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    return x.float() @ down.t() @ up.t()


WAYS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "by itself": lambda layer, x: layer(x),
    "projected": project,
    "beside others": lambda layer, x: project_together((layer, layer), x)[1],
}


@pytest.mark.whole
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_a_lora_that_has_only_begun_counts(held: str, way: str, bias: bool) -> None:
    layer = young(transformer(HELD[held], bias=bias))
    x = inputs()
    without, added = layer.base_layer(x), added_by(layer, x)
    digit = 2.0**-8 * without.float().abs().mean()
    assert added.abs().mean() < digit / 4, "or nothing would be rounded away"
    found = WAYS[way](layer, x)
    assert found.dtype == torch.bfloat16
    assert counted(found, without, added) == pytest.approx(1, abs=BY_CHANCE)


@pytest.mark.parametrize("kind", ["int8", "fp8", "native"])
def test_gradients_are_those_of_the_layer_and_the_lora(kind: Format | str) -> None:
    layer = young(transformer(HELD[kind if kind == "native" else f"{kind} weights"], bias=True))
    base = layer.base_layer
    frozen = base.weight.float() * (base.scale if kind != "native" else 1)
    x, gradient = inputs().requires_grad_(), inputs().roll(1, 1)
    layer(x).backward(gradient)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert x.grad is not None
    wanted = gradient.float() @ (frozen + up @ down)
    torch.testing.assert_close(x.grad.float(), wanted, rtol=2e-2, atol=2e-2)
    wide = x.detach().float().view(-1, WIDTH)
    torch.testing.assert_close(
        up.grad, gradient.float().view(-1, WIDTH).t() @ (wide @ down.t()), rtol=2e-2, atol=2e-2 * ROWS**0.5
    )


@torch.no_grad()
def test_in_float32_it_is_pefts_own_result_to_the_bit() -> None:
    made = transformer(HELD["native"], bias=True, dtype=torch.float32)
    layer, x = young(made), inputs(torch.float32)
    ours = layer(x)
    plain = torch.nn.ModuleDict({"to_q": layer.base_layer})
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["to_q"], init_lora_weights=False)
    peft: Any = inject_adapter_in_model(config, plain)["to_q"]
    for half in ("lora_A", "lora_B"):
        getattr(peft, half)["default"].weight.data = getattr(layer, half)["default"].weight.data
    assert type(peft) is not type(layer)
    assert torch.equal(ours, peft(x))
    assert not torch.equal(ours, layer.base_layer(x))


@torch.no_grad()
def test_several_adapters_or_none_add_what_they_add() -> None:
    made = transformer(HELD["native"], bias=True)
    layer, x = young(made), inputs()
    without, added = layer.base_layer(x), added_by(layer, x)
    add_lora(made, [NAME], rank=4, alpha=8, seed=0, adapter="other")
    layer.lora_A["other"].weight.data = layer.lora_A["default"].weight.data
    layer.lora_B["other"].weight.data = layer.lora_B["default"].weight.data
    made.set_adapter(["default", "other"])
    assert counted(layer(x), without, added) == pytest.approx(3, abs=BY_CHANCE)
    made.disable_adapters()
    assert torch.equal(layer(x), without)
