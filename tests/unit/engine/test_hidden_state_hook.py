"""A hidden-state hook gives what diffusers' block gives, changes nothing, and works under every policy."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.adapters.lora import lora_parameters
from ltx_core.denoiser.blocks import TokenRoute
from ltx_core.denoiser.forward import HiddenStateHook, denoise
from ltx_core.engine.options import EngineOptions
from tests.unit.engine.conftest import NUM_BLOCKS, SHAPE, build, streams

pytestmark = pytest.mark.whole

KEPT = torch.tensor([[0, 3, 4, 9], [1, 2, 8, 23]])


def hooked(options: EngineOptions, block: int, routes: tuple[TokenRoute, ...] = ()) -> tuple[Any, dict[str, Any]]:
    """What the hook holds, the velocities, and gradients of a loss on both."""
    transformer, hook = build(options), HiddenStateHook(block)
    video, audio = denoise(transformer, *streams(), routes=routes, hooks=[hook])
    assert video is not None
    assert audio is not None
    assert hook.video is not None
    (video.square().mean() + audio.square().mean() + hook.video.sin().mean()).backward()
    gradients = {n: p.grad for n, p in lora_parameters(transformer).items() if p.grad is not None}
    return (hook.video.detach(), video.detach(), audio.detach()), gradients


@pytest.mark.parametrize("block", [0, 2, NUM_BLOCKS - 1])
def test_it_is_what_a_hook_on_diffusers_block_sees(block: int) -> None:
    transformer, hook, seen = build(EngineOptions()), HiddenStateHook(block), []
    transformer.transformer_blocks[block].register_forward_hook(lambda *given: seen.append(given[-1][0]))
    without = denoise(transformer, *streams())
    found = denoise(transformer, *streams(), hooks=[hook])
    assert hook.video is not None
    assert hook.video.equal(seen[0])
    assert hook.video.equal(seen[1])
    assert all(
        one is not None and one.equal(other) for one, other in zip(found, without, strict=True) if other is not None
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(EngineOptions(activation_checkpointing=1.0), marks=pytest.mark.extra),
        pytest.param(EngineOptions(offloaded_blocks=5), marks=pytest.mark.extra),
        EngineOptions(offloaded_blocks=2, activation_checkpointing=0.5),
    ],
    ids=str,
)
def test_policies_change_no_bit_of_it_or_of_gradients_through_it(options: EngineOptions) -> None:
    values, gradients = hooked(EngineOptions(), 2)
    found, found_gradients = hooked(options, 2)
    assert all(one.equal(other) for one, other in zip(values, found, strict=True))
    assert gradients.keys() == found_gradients.keys()
    assert all(gradients[name].equal(found_gradients[name]) for name in gradients)


def test_streams_from_files_too(tmp_path: Path) -> None:
    values, _ = hooked(EngineOptions(), 2)
    found, _ = hooked(EngineOptions(offloaded_blocks=5, offload_folder=tmp_path), 2)
    assert found[0].equal(values[0])


@pytest.mark.parametrize(
    ("block", "length"),
    [
        (0, SHAPE.tokens),
        (1, 4),
        *(pytest.param(*case, marks=pytest.mark.extra) for case in ((2, 4), (4, SHAPE.tokens))),
        (3, 4),
    ],
)
def test_inside_a_route_it_holds_the_kept_tokens(block: int, length: int) -> None:
    (video, *_), gradients = hooked(EngineOptions(), block, (TokenRoute(1, 3, KEPT),))
    assert video.shape[1] == length
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
