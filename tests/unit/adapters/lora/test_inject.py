"""An adapter's start."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import add_lora, lora_parameters, target_modules, without_lora
from ltx_core.errors import ConfigError


def start(transformer: Any, targets: str = "audio+video", seed: int = 3) -> dict[str, torch.Tensor]:
    add_lora(transformer, target_modules(transformer, targets), rank=4, alpha=4, seed=seed)
    return {name: parameter.detach().clone() for name, parameter in lora_parameters(transformer).items()}


def test_model_starts_as_its_base(transformer: Any, run_forward: Callable[[Any], torch.Tensor]) -> None:
    base = run_forward(transformer)
    start(transformer)
    assert torch.equal(run_forward(transformer), base)


def test_only_the_adapter_trains_and_in_float32(build: Callable[..., Any]) -> None:
    transformer = build(torch.bfloat16)
    parameters = start(transformer)
    trained = [p for p in transformer.parameters() if p.requires_grad]
    assert len(trained) == len(parameters) == 2 * 48
    assert {p.dtype for p in trained} == {torch.float32}
    assert transformer.proj_in.weight.dtype == torch.bfloat16


def test_start_depends_on_seed_and_layer_only(build: Callable[..., Any]) -> None:
    torch.manual_seed(1)
    both = start(build())
    torch.manual_seed(2)
    video = start(build(), "video")
    other = start(build(), "video", seed=4)
    downs = [name for name in video if "lora_A" in name]
    assert all(torch.equal(both[name], video[name]) for name in video)
    assert not any(torch.equal(other[name], video[name]) for name in downs)
    assert len({tuple(video[name].flatten().tolist()) for name in downs}) == len(downs)
    bound = video["transformer_blocks.0.attn1.to_q.lora_A.weight"].abs().max().item()
    assert 0.8 / 32**0.5 < bound <= 1 / 32**0.5


def test_global_generator_is_left_alone(transformer: Any) -> None:
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    start(transformer)
    assert torch.equal(torch.randn(3), expected)


def test_base_comes_back_for_a_while(
    transformer: Any, run_forward: Callable[[Any], torch.Tensor], pretend_training: Callable[[Any], None]
) -> None:
    base = run_forward(transformer)
    start(transformer)
    pretend_training(transformer)
    changed = run_forward(transformer)
    with without_lora(transformer):
        assert torch.equal(run_forward(transformer), base)
    assert torch.equal(run_forward(transformer), changed)
    assert not torch.equal(changed, base)
    assert all(parameter.requires_grad for parameter in lora_parameters(transformer).values())


def test_layers_that_are_not_there_are_refused(transformer: Any) -> None:
    with pytest.raises(ConfigError, match="differ"):
        add_lora(
            transformer, ["transformer_blocks.0.attn1.to_q", "transformer_blocks.9.attn1.to_q"], rank=2, alpha=2, seed=0
        )
