"""Dropout before a LoRA: masks that their names decide."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import add_lora, lora_layers, lora_parameters
from ltx_core.engine.dropout import KeyedDropout, dropout_key, set_dropout_key
from ltx_core.engine.projection import project_together
from tests.unit.adapters.lora.conftest import velocities

KEYS = torch.tensor([dropout_key("a"), dropout_key("b")])


def mask(keys: torch.Tensor, shape: tuple[int, ...] = (2, 50, 40), *, share: float = 0.3, layer: str = "x") -> Any:
    dropout = KeyedDropout(share, layer)
    dropout.key = keys
    return dropout(torch.ones(shape))


def test_as_much_is_dropped_as_asked_and_the_rest_makes_up_for_it() -> None:
    for share in (0.1, 0.5, 0.9):
        made = mask(KEYS, (2, 500, 40), share=share)
        assert made.unique().tolist() == pytest.approx([0, 1 / (1 - share)])
        assert (made == 0).float().mean().item() == pytest.approx(share, abs=0.01)


def test_masks_of_samples_layers_and_places_have_nothing_to_do_with_each_other() -> None:
    made, other = (mask(KEYS, (2, 500, 40), share=0.5, layer=layer) == 0 for layer in ("x", "y"))
    pairs = [(made[0], made[1]), (made, other), (made[:, 1:], made[:, :-1]), (made[..., 1:], made[..., :-1])]
    for left, right in pairs:
        assert (left == right).float().mean().item() == pytest.approx(0.5, abs=0.015)


def test_a_samples_mask_does_not_know_the_batch() -> None:
    both = mask(KEYS)
    assert torch.equal(both[1:], mask(KEYS[1:], (1, 50, 40)))
    assert torch.equal(both, mask(KEYS))
    assert torch.equal(mask(KEYS, (100, 40)), both.flatten(0, 1)), "tokens laid end to end"


def test_nothing_is_dropped_without_gradients_or_without_a_key() -> None:
    dropout, x = KeyedDropout(0.5, "x"), torch.ones(2, 3, 4)
    assert dropout(x) is x
    dropout.key = KEYS
    with torch.no_grad():
        assert dropout(x) is x


def test_it_lies_before_the_lora_alone(build: Callable[..., Any], pretend_training: Callable[[Any], None]) -> None:
    """W x + B A drop(x), in peft's way and with shared inputs read once."""
    transformer = build()
    names = [f"transformer_blocks.0.attn1.{part}" for part in ("to_q", "to_k")]
    add_lora(transformer, names, rank=2, alpha=4, seed=0, dropout=0.5)
    pretend_training(transformer)
    set_dropout_key(transformer, KEYS)
    layers = list(lora_layers(transformer).values())
    x = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0))
    for found in ([layer(x) for layer in layers], project_together(layers, x)):
        for name, layer, out in zip(names, layers, found, strict=True):
            seen = x * mask(KEYS, (2, 7, 32), share=0.5, layer=name)
            wanted = layer.base_layer(x) + 2 * seen @ (layer.lora_B.default.weight @ layer.lora_A.default.weight).t()
            torch.testing.assert_close(out, wanted, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(project_together(layers, x)[0], layers[0](x), rtol=0, atol=1e-6)


def test_renders_and_weights_are_those_of_a_lora_without(build: Callable[..., Any]) -> None:
    made = []
    for dropout in (0.0, 0.5):
        transformer = build()
        add_lora(transformer, ["transformer_blocks.0.attn1.to_q"], rank=2, alpha=2, seed=0, dropout=dropout)
        for parameter in lora_parameters(transformer).values():
            parameter.data += 0.1
        made.append(velocities(transformer))
    assert torch.equal(*made)
