"""Several adapters at once, and none of them afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import add_lora, lora_layers, target_modules
from ltx_core.adapters.lora_files import read_lora
from ltx_core.adapters.lora_layout import Adapter
from ltx_core.adapters.trained import stacked
from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.io.digest import file_digest
from ltx_core.io.tensors import write_tensors
from tests.fused_lora import fuse_lora, save_lora

pytestmark = pytest.mark.whole

Forward = Callable[[Any], torch.Tensor]


@pytest.fixture
def adapters(build: Callable[..., Any], pretend_training: Callable[[Any], None], tmp_path: Path) -> list[Adapter]:
    """Two files of unequal layers and ranks, at unequal strengths."""
    made = []
    for name, targets, rank, strength in (("one", "video", 4, 0.75), ("two", "audio+video", 2, -0.5)):
        transformer = build()
        add_lora(transformer, target_modules(transformer, targets), rank=rank, alpha=rank, seed=len(name) + rank)
        pretend_training(transformer)
        path = tmp_path / f"{name}.safetensors"
        save_lora(path, transformer, {})
        made.append(Adapter(path, file_digest(path), strength))
    return made


def test_sum_is_what_fusing_both_gives(
    build: Callable[..., Any], run_forward: Forward, adapters: list[Adapter]
) -> None:
    fused, state = build(), build().state_dict()
    for adapter in adapters:
        state = fuse_lora(state, read_lora(adapter.path), adapter.strength)
    fused.load_state_dict(state)
    transformer = build()
    base = run_forward(transformer)
    with stacked(transformer, adapters):
        found = run_forward(transformer)
    assert (found - base).abs().max() > 1e-2
    torch.testing.assert_close(found, run_forward(fused), rtol=0, atol=1e-5)


def test_base_is_back_to_the_bit_and_others_can_follow(
    build: Callable[..., Any], run_forward: Forward, adapters: list[Adapter]
) -> None:
    transformer = build()
    base = run_forward(transformer)
    with stacked(transformer, adapters[:1]):
        alone = run_forward(transformer)
    assert torch.equal(run_forward(transformer), base)
    with stacked(transformer, adapters):
        both = run_forward(transformer)
    assert torch.equal(run_forward(transformer), base)
    with stacked(transformer, adapters[:1]):
        assert torch.equal(run_forward(transformer), alone)
    assert not torch.equal(both, alone)
    with stacked(transformer, []):
        assert torch.equal(run_forward(transformer), base)


def test_weights_are_of_the_transformers_dtype(build: Callable[..., Any], adapters: list[Adapter]) -> None:
    transformer = build(torch.bfloat16)
    with stacked(transformer, adapters):
        dtypes = {
            p.dtype
            for n in ("stacked-0", "stacked-1")
            for layer in lora_layers(transformer, n).values()
            for p in (layer.lora_A[n].weight, layer.lora_B[n].weight)
        }
    assert dtypes == {torch.bfloat16}


def test_one_that_does_not_fit_takes_the_others_off_again(
    build: Callable[..., Any], run_forward: Forward, adapters: list[Adapter], tmp_path: Path
) -> None:
    transformer = build()
    base = run_forward(transformer)
    write_tensors(other := tmp_path / "other.safetensors", {"x.lora_A.weight": torch.ones(1, 2)}, {})
    with pytest.raises(CheckpointError, match="only one of"), stacked(transformer, [*adapters, Adapter(other, "")]):
        pass
    assert torch.equal(run_forward(transformer), base)


@pytest.mark.parametrize("strength", [0.0, float("nan")])
def test_a_strength_that_means_nothing_is_refused(strength: float) -> None:
    with pytest.raises(ConfigError, match="strength of a is"):
        Adapter(Path("a"), "", strength)
