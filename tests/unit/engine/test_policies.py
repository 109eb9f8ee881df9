"""Each policy alone and all together: the losses and gradients of no policy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.denoiser.blocks import set_runner
from ltx_core.engine.assemble import block_offload
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.runner import PolicyRunner
from ltx_core.errors import ConfigError
from tests.unit.engine.conftest import build, loss_and_gradients

pytestmark = pytest.mark.whole

Gradients = dict[str, torch.Tensor]
Trained = tuple[torch.Tensor, Gradients]
TrainOnce = Callable[[EngineOptions], Trained]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(EngineOptions(activation_checkpointing=1.0), marks=pytest.mark.extra),
        pytest.param(EngineOptions(activation_checkpointing=0.4), marks=pytest.mark.extra),
        pytest.param(EngineOptions(offloaded_blocks=5), marks=pytest.mark.extra),
        EngineOptions(offloaded_blocks=5, num_slots=3),
        pytest.param(EngineOptions(offloaded_blocks=1), marks=pytest.mark.extra),
        EngineOptions(offloaded_blocks=3, activation_checkpointing=0.5),
    ],
    ids=str,
)
def test_where_and_when_blocks_are_computed_changes_no_bit(
    options: EngineOptions, plain: Trained, train_once: TrainOnce
) -> None:
    loss, gradients = train_once(options)
    assert loss.equal(plain[0])
    assert gradients.keys() == plain[1].keys()
    assert all(gradients[name].equal(plain[1][name]) for name in gradients)


def test_fused_projections_equal_to_rounding(plain: Trained, train_once: TrainOnce) -> None:
    loss, gradients = train_once(EngineOptions(fused=True))
    torch.testing.assert_close(loss, plain[0])
    torch.testing.assert_close(gradients, plain[1], atol=1e-6, rtol=1e-4)


def test_weights_stream_from_files_too(tmp_path: Path, plain: Trained, train_once: TrainOnce) -> None:
    loss, _ = train_once(EngineOptions(offloaded_blocks=5, offload_folder=tmp_path))
    assert loss.equal(plain[0])
    assert list(tmp_path.iterdir()) == []


def test_options_without_effect_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compiled"):
        EngineOptions(activation_budget=0.5)
    with pytest.raises(ConfigError, match="page-locked"):
        EngineOptions(graphs=True, offloaded_blocks=1, offload_folder=tmp_path)
    with pytest.raises(ConfigError, match="fraction of the blocks"):
        EngineOptions(activation_checkpointing=1.5)


def test_compiled_blocks_serve_training_alone(built: Callable[..., Any], trained: Callable[[Any], Trained]) -> None:
    """An eval would compile each block anew, without gradients and once more without the LoRA."""
    transformer = built(EngineOptions())
    calls: list[int] = []

    def compiled(block: Any) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return block.forward(*args, **kwargs)

        return run

    for block in transformer.transformer_blocks:
        block._compiled_call_impl = compiled(block)
    trained(transformer)
    assert len(calls) == len(transformer.transformer_blocks)
    with torch.no_grad(), pytest.raises(RuntimeError, match="does not require grad"):
        trained(transformer)
    assert len(calls) == len(transformer.transformer_blocks)


def test_a_block_may_join_a_stream_that_ran(plain: Trained) -> None:
    """Slots are made anew then, and what the old ones held is not taken for there."""
    transformer = build(EngineOptions(offloaded_blocks=3))
    stream = block_offload(transformer)
    assert stream is not None
    loss_and_gradients(transformer)
    for index, block in enumerate(transformer.transformer_blocks):
        if index not in stream:
            stream.adopt(index, block)
    held = [torch.full((2**20,), 255, dtype=torch.uint8) for _ in range(8)]  # so that new slots are not the old memory
    loss, gradients = loss_and_gradients(transformer)
    assert held
    assert loss.equal(plain[0])
    assert all(gradients[name].equal(plain[1][name]) for name in gradients)


def test_blocks_that_are_computed_again_whole_have_no_budget(
    built: Callable[..., Any], trained: Callable[[Any], Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or parts of them would be computed three times."""
    transformer = built(EngineOptions())
    parts: list[int] = []

    def in_parts(block: Any, video: Any, audio: Any, arguments: Any) -> Any:
        parts.append(list(transformer.transformer_blocks).index(block))
        return block.forward(video, audio, **arguments)

    monkeypatch.setattr("ltx_core.engine.runner._compiled_keeping_attention", in_parts)
    for block in transformer.transformer_blocks:
        block._compiled_call_impl = block.forward
    set_runner(transformer, PolicyRunner(frozenset({1, 3}), None, 0.5))
    trained(transformer)
    assert parts == [0, 2, 4]
