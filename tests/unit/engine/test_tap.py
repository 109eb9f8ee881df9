"""A tap gives what diffusers' block gives, changes nothing, and works under every policy."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.routing import TokenRoute
from ltx_core.denoiser.tap import Tap
from ltx_core.engine.options import EngineOptions
from ltx_core.lora.inject import lora_parameters
from tests.unit.engine.conftest import NUM_BLOCKS, SHAPE, build, streams

pytestmark = pytest.mark.whole

KEPT = torch.tensor([[0, 3, 4, 9], [1, 2, 8, 23]])


def tapped(options: EngineOptions, block: int, routes: tuple[TokenRoute, ...] = ()) -> tuple[Any, dict[str, Any]]:
    """What the tap holds, the velocities, and gradients of a loss on both."""
    transformer, tap = build(options), Tap(block)
    video, audio = denoise(transformer, *streams(), routes=routes, tap=tap)
    assert video is not None
    assert audio is not None
    assert tap.video is not None
    (video.square().mean() + audio.square().mean() + tap.video.sin().mean()).backward()
    gradients = {n: p.grad for n, p in lora_parameters(transformer).items() if p.grad is not None}
    return (tap.video.detach(), video.detach(), audio.detach()), gradients


@pytest.mark.parametrize("block", [0, 2, NUM_BLOCKS - 1])
def test_it_is_what_a_hook_on_diffusers_block_sees(block: int) -> None:
    transformer, tap, seen = build(EngineOptions()), Tap(block), []
    transformer.transformer_blocks[block].register_forward_hook(lambda *given: seen.append(given[-1][0]))
    untapped = denoise(transformer, *streams())
    found = denoise(transformer, *streams(), tap=tap)
    assert tap.video is not None
    assert tap.video.equal(seen[0])
    assert tap.video.equal(seen[1])
    assert all(
        one is not None and one.equal(other) for one, other in zip(found, untapped, strict=True) if other is not None
    )


@pytest.mark.parametrize(
    "options",
    [EngineOptions(recompute=1.0), EngineOptions(streamed_blocks=5), EngineOptions(streamed_blocks=2, recompute=0.5)],
    ids=str,
)
def test_policies_change_no_bit_of_it_or_of_gradients_through_it(options: EngineOptions) -> None:
    values, gradients = tapped(EngineOptions(), 2)
    found, found_gradients = tapped(options, 2)
    assert all(one.equal(other) for one, other in zip(values, found, strict=True))
    assert gradients.keys() == found_gradients.keys()
    assert all(gradients[name].equal(found_gradients[name]) for name in gradients)


def test_streams_from_files_too(tmp_path: Path) -> None:
    values, _ = tapped(EngineOptions(), 2)
    found, _ = tapped(EngineOptions(streamed_blocks=5, stream_folder=tmp_path), 2)
    assert found[0].equal(values[0])


@pytest.mark.parametrize(("block", "length"), [(0, SHAPE.tokens), (1, 4), (2, 4), (3, 4), (4, SHAPE.tokens)])
def test_inside_a_route_it_holds_the_kept_tokens(block: int, length: int) -> None:
    (video, *_), gradients = tapped(EngineOptions(), block, (TokenRoute(1, 3, KEPT),))
    assert video.shape[1] == length
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
