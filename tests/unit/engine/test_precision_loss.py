"""8 bits are compared with full precision layer by layer: what is multiplied, what is only held, and what stays.

A value that is `a` times as large as the others of its row leaves these the steps of its own scale: a / 127 / sqrt(12)
of noise in int8, 7 % for 30 and 23 % for 100, whatever the width. fp8 has steps of each value's own size.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import add_lora, lora_parameters, target_modules
from ltx_core.denoiser.blocks import run_plainly, set_runner
from ltx_core.denoiser.forward import denoise
from ltx_core.engine import precision_choice
from ltx_core.engine import precision_loss as module
from ltx_core.engine.assemble import assemble, fill_block
from ltx_core.engine.low_precision import Format, QuantisedLinear, is_quantisable
from ltx_core.engine.options import EngineOptions, LayerChoice
from ltx_core.engine.precision_choice import LAYER_BOUND, Comparison
from ltx_core.engine.precision_loss import compare
from ltx_core.engine.runner import LoadedInTurn
from tests.unit.engine.conftest import NUM_BLOCKS, empty, empty_block, streams, weights

pytestmark = pytest.mark.whole
CPU = torch.device("cpu")
Weights = dict[str, torch.Tensor]
AFTER_MODULATION = {"attn1.to_q", "attn1.to_k", "attn1.to_v"}


def with_outlier(size: float, block: int = 2) -> Weights:
    """adaLN makes one channel before the self-attention of one block so many times as large as the others."""
    stored = weights()
    stored[f"transformer_blocks.{block}.scale_shift_table"][1, 5] = size
    return stored


def outside(stored: Weights) -> Any:
    """A transformer without blocks, and what fills one."""
    whole = assembled(stored, EngineOptions())
    whole.transformer_blocks = empty().transformer_blocks
    return whole


def filling(stored: Weights) -> Callable[[int, EngineOptions], torch.nn.Module]:
    def fill(index: int, options: EngineOptions) -> torch.nn.Module:
        block = empty_block(index)
        fill_block(block, index, lambda names: {n: stored[n].clone() for n in names}, options, device=CPU)
        return block

    return fill


def assembled(stored: Weights, options: EngineOptions) -> Any:
    transformer = empty()
    return assemble(transformer, lambda names: {n: stored[n].clone() for n in names}, options, device=CPU)


def loss_of(transformer: Any) -> torch.Tensor:
    video, audio = denoise(transformer, *streams())
    assert video is not None
    assert audio is not None
    return video.square().mean() + audio.square().mean()


def found(stored: Weights, kind: Format = "int8") -> Comparison:
    transformer = outside(stored)
    return compare(
        transformer,
        filling(stored),
        lambda: loss_of(transformer),
        kind,
        clip="a clip",
        low_backward=True,
        device=CPU,
    )


@cache
def of_outlier(size: float, kind: Format = "int8") -> Comparison:
    return found(with_outlier(size), kind)


def kinds() -> set[str]:
    return {name for name, layer in empty().transformer_blocks[0].named_modules() if is_quantisable(layer)}


def test_without_outliers_all_is_multiplied() -> None:
    made = of_outlier(0.0)
    assert set(made.products) == kinds()
    assert made.native == ()
    assert made.whole.is_harmless
    assert made.rejected is None
    assert all(loss.weights < 0.02 for loss in made.worst)


@pytest.mark.parametrize(("size", "lost"), [(30.0, 0.068), pytest.param(100.0, 0.227, marks=pytest.mark.extra)])
def test_what_an_outlier_spoils_is_held_and_not_multiplied(size: float, lost: float) -> None:
    made = of_outlier(size)
    assert set(made.products) == kinds() - AFTER_MODULATION
    spoilt = [loss for loss in made.worst if loss.products is not None and loss.products > LAYER_BOUND]
    assert {loss.layer for loss in spoilt} == {f"transformer_blocks.2.{kind}" for kind in AFTER_MODULATION}
    for loss in spoilt:
        assert loss.products == pytest.approx(lost, rel=0.25)
        assert loss.weights < 0.02
    assert made.native == ()
    assert made.whole.is_harmless
    assert any("3 hold weights alone" in line for line in made.lines())
    assert any("transformer_blocks.2.attn1.to_" in line for line in made.lines())


@pytest.mark.extra
def test_no_layer_in_fp8_is_spoilt_by_it() -> None:
    """Over the whole of so narrow a model its errors do not average out as they do at full size."""
    made = of_outlier(100.0, "fp8")
    assert all(0.02 < (loss.products or 0) <= LAYER_BOUND for loss in made.worst)
    assert all(loss.weights < 0.04 for loss in made.worst)
    assert made.rejected is not None or set(made.products) == kinds()


def gradients(stored: Weights, options: EngineOptions) -> torch.Tensor:
    """Of the LoRA of one block's self-attention and all after it, as they are when a run begins."""
    transformer = assembled(stored, options)
    add_lora(transformer, target_modules(transformer, "audio+video"), rank=4, alpha=4, seed=0)
    loss_of(transformer).backward()
    wanted = [p.grad.flatten() for n, p in lora_parameters(transformer).items() if "lora_B" in n and p.grad is not None]
    return torch.cat(wanted)


@pytest.mark.extra
@pytest.mark.parametrize("size", [30.0, 100.0])
def test_gradients_of_a_lora_lose_little_with_the_choice_and_much_without(size: float) -> None:
    stored = weights()
    for block in range(NUM_BLOCKS):
        for row in (1, 4):  # before the self-attention and before the feed-forward
            stored[f"transformer_blocks.{block}.scale_shift_table"][row, 5] = size
            stored[f"transformer_blocks.{block}.audio_scale_shift_table"][row, 5] = size
    exact = gradients(stored, EngineOptions())

    def lost(choice: LayerChoice) -> float:
        options = EngineOptions(precision="int8", products=choice.products, native_layers=choice.native)
        return float((gradients(stored, options) - exact).norm() / exact.norm())

    multiplied, held, chosen = lost(LayerChoice("all")), lost(LayerChoice("none")), lost(found(stored).choice)
    assert held < 0.02
    assert multiplied > (1.5 if size == 100 else 1.1) * held, "in a narrow model the outlier is most of a gradient"
    assert chosen < (multiplied + held) / 2 if size == 100 else chosen < multiplied


def test_a_layer_that_8_bits_cannot_hold_stays_as_it_is() -> None:
    stored, name = weights(), "transformer_blocks.1.ff.net.2"
    stored[f"{name}.weight"][:, 3] *= 1000
    made = found(stored)
    assert made.native == (name,)
    options = EngineOptions(precision="int8", products=made.choice.products, native_layers=made.choice.native)
    transformer = assembled(stored, options)
    layers = {n: m for n, m in transformer.named_modules() if n.startswith("transformer_blocks.")}
    assert type(layers[name]) is torch.nn.Linear
    other = layers["transformer_blocks.2.ff.net.2"]
    assert isinstance(other, QuantisedLinear)
    assert other.precision.low_forward == ("ff.net.2" in made.products)
    assert any(name in line for line in made.lines())
    assert Comparison.model_validate_json(made.model_dump_json()) == made


def test_what_is_not_a_number_is_never_good_enough() -> None:
    stored, name = weights(), "transformer_blocks.4.ff.net.2"
    stored[f"{name}.weight"][2, 3] = float("nan")
    made = found(stored)
    assert name in made.native
    assert not made.whole.is_harmless
    again = Comparison.model_validate_json(made.model_dump_json())
    assert (again.native, again.products) == (made.native, made.products)
    assert again.worst == made.worst


def test_products_that_harm_the_whole_model_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_choice, "GRADIENT_BOUND", 1e-6)
    made = found(weights())
    assert made.products == ()
    assert made.rejected is not None
    assert made.rejected.gradient_error > made.whole.gradient_error
    assert made.choice == LayerChoice(frozenset(), frozenset())
    assert any("given up" in line for line in made.lines())
    assert any("base_precision: native" in line for line in made.lines())


def test_a_device_without_8_bit_products_is_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "supported", lambda *_: False)
    made = found(weights())
    assert made.products == ()
    assert all(loss.products is None for loss in made.worst)


def test_blocks_in_turn_compute_what_resident_ones_compute() -> None:
    stored, seen = weights(), dict[int, dict[str, torch.Tensor]]()
    transformer, fill = outside(stored), filling(stored)
    runner = LoadedInTurn(
        lambda index: fill(index, EngineOptions()),
        lambda index, layers: seen.update({index: {name: felt.gradient for name, felt in layers.items()}}),
        is_quantisable,
    )
    set_runner(transformer, runner)
    loss = loss_of(transformer)
    loss.backward()
    whole = assembled(stored, EngineOptions())
    set_runner(whole, run_plainly)
    assert torch.equal(loss, loss_of(whole))
    assert list(seen) == list(reversed(range(NUM_BLOCKS)))
    add_lora(whole, target_modules(whole, "audio+video"), rank=4, alpha=4, seed=0)
    loss_of(whole).backward()
    for index in range(NUM_BLOCKS):
        assert seen[index].keys() == kinds()
        layer = whole.transformer_blocks[index].attn1.to_out[0]
        grad = layer.lora_B["default"].weight.grad
        assert grad.norm() > 0
    bias = {name: gradient.sum(0) for name, gradient in seen[0].items()}
    assert bias["attn1.to_out.0"].norm() > 0
