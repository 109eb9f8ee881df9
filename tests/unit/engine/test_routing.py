"""Routes over blocks: what belongs to a token goes with it, the order comes back, and no policy sees a difference."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ltx_core.denoiser.blocks import TokenRoute, run_plainly, run_routed
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.prepare import Hidden, prepare
from ltx_core.denoiser.tokens import Stream
from ltx_core.engine.options import EngineOptions
from ltx_core.errors import ShapeError

pytestmark = pytest.mark.numerics

Trained = tuple[Tensor, dict[str, Tensor]]
StreamsOf = Callable[..., tuple[Stream, Stream]]
KEPT = torch.tensor([[*range(12), 13, 17, 18, 23], [*range(12), 12, 16, 20, 21]])
"""Of 24 tokens, 12 a latent frame; other ones in each sample."""
ROUTE = TokenRoute(1, 3, KEPT)
TWO = (TokenRoute(0, 1, KEPT), TokenRoute(3, 4, KEPT[:, 2:].flip(0)))
by_token = pytest.mark.parametrize("by_token", [False, True], ids=["one time", "time by token"])


def same(video: Tensor, audio: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
    """A block that does nothing."""
    return video, audio


def counting(video: Tensor, audio: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
    """A block that tells by how many of its kind a token was seen."""
    return video + 1, audio + 1


def only(stream: Stream, kept: Tensor) -> Stream:
    """A stream of the tokens `kept` alone, made by plain indexing."""
    rows = torch.arange(len(kept))[:, None]
    times = stream.timesteps if stream.timesteps.ndim == 1 else stream.timesteps[rows, kept]
    positions = stream.positions.movedim(2, 1)[rows, kept].movedim(1, 2)
    return replace(stream, tokens=stream.tokens[rows, kept], timesteps=times, positions=positions)


@by_token
def test_blocks_that_do_nothing_leave_every_bit_in_its_place(
    by_token: bool, transformer: Any, streams_of: StreamsOf
) -> None:
    hidden, call, _ = prepare(transformer, *streams_of(by_token=by_token), isolate=False)
    shuffled = TokenRoute(1, 3, KEPT[:, torch.randperm(16, generator=torch.Generator().manual_seed(0))])
    for routes in ((ROUTE,), (shuffled,), TWO):
        found = run_routed([same] * 5, hidden, call, routes, run_plainly)
        assert found.video.equal(hidden.video)
        assert found.audio.equal(hidden.audio)


def test_tokens_set_aside_skip_the_blocks_of_the_route_alone(transformer: Any, streams_of: StreamsOf) -> None:
    _, call, _ = prepare(transformer, *streams_of(), isolate=False)
    hidden = Hidden(torch.zeros(2, 24, 1), torch.zeros(2, 20, 1))
    found = run_routed([counting] * 5, hidden, call, [ROUTE], run_plainly)
    wanted = torch.full((2, 24), 2.0).scatter(1, KEPT, 5.0)
    assert found.video[:, :, 0].equal(wanted)
    assert found.audio.unique().tolist() == [5]


@by_token
def test_a_routes_blocks_compute_what_they_would_if_no_other_token_were_there(
    by_token: bool, transformer: Any, streams_of: StreamsOf
) -> None:
    """Their rotary tables and modulation are made here anew, from the positions and times of the kept tokens."""
    video, audio = streams_of(by_token=by_token)
    blocks = transformer.transformer_blocks
    hidden, call, _ = prepare(transformer, video, audio, isolate=False)
    _, alone, _ = prepare(transformer, only(video, KEPT), audio, isolate=False)
    rows = torch.arange(2)[:, None]
    with torch.no_grad():
        found = run_routed(blocks, hidden, call, [ROUTE], run_plainly)
        before = run_plainly(blocks, hidden, call, range(1))
        inside = run_plainly(blocks, Hidden(before.video[rows, KEPT], before.audio), alone, range(1, 4))
        whole = before.video.clone()
        whole[rows, KEPT] = inside.video
        wanted = run_plainly(blocks, Hidden(whole, inside.audio), call, range(4, 5))
    torch.testing.assert_close(found.video, wanted.video, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.audio, wanted.audio, rtol=0, atol=1e-5)
    plain = run_plainly(blocks, hidden, call, range(5))
    assert (found.video - plain.video).abs().max() > 1e-2


@by_token
def test_order_of_the_kept_tokens_means_nothing(by_token: bool, transformer: Any, streams_of: StreamsOf) -> None:
    backwards = TokenRoute(1, 3, KEPT.flip(1))
    with torch.no_grad():
        found = [denoise(transformer, *streams_of(by_token=by_token), routes=[route]) for route in (ROUTE, backwards)]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@by_token
def test_a_route_that_keeps_all_is_no_route_to_the_last_bit(by_token: bool, train_once: Callable[..., Trained]) -> None:
    loss, gradients = train_once(EngineOptions(), by_token=by_token)
    routes = [TokenRoute(1, 3, torch.arange(24).expand(2, 24))]
    other_loss, others = train_once(EngineOptions(), routes, by_token=by_token)
    assert other_loss.equal(loss)
    assert all(others[name].equal(gradients[name]) for name in gradients)


@by_token
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(EngineOptions(activation_checkpointing=1.0), marks=pytest.mark.extra),
        pytest.param(EngineOptions(activation_checkpointing=0.4), marks=pytest.mark.extra),
        pytest.param(EngineOptions(offloaded_blocks=5), marks=pytest.mark.extra),
        EngineOptions(offloaded_blocks=3, activation_checkpointing=0.5),
    ],
    ids=str,
)
def test_where_and_when_routed_blocks_are_computed_changes_no_bit(
    options: EngineOptions, by_token: bool, train_once: Callable[..., Trained]
) -> None:
    loss, gradients = train_once(EngineOptions(), TWO, by_token=by_token)
    again, others = train_once(options, TWO, by_token=by_token)
    assert again.equal(loss)
    assert others.keys() == gradients.keys()
    assert all(others[name].equal(gradients[name]) for name in gradients)


def test_every_trained_weight_gets_a_gradient_through_routes(train_once: Callable[..., Trained]) -> None:
    _, gradients = train_once(EngineOptions(), [TokenRoute(0, 4, KEPT)])
    assert len(gradients) == len(train_once(EngineOptions())[1])
    assert all(bool(gradient.any()) for gradient in gradients.values())


@pytest.mark.parametrize(
    "routes",
    [
        [TokenRoute(3, 5, KEPT)],
        [TokenRoute(3, 2, KEPT)],
        [TokenRoute(0, 2, KEPT), TokenRoute(2, 4, KEPT)],
        [TokenRoute(3, 4, KEPT), TokenRoute(0, 1, KEPT)],
        [TokenRoute(1, 3, KEPT[:1])],
        [TokenRoute(1, 3, KEPT[:, :0])],
        [TokenRoute(1, 3, torch.zeros(2, 25, dtype=torch.long))],
    ],
    ids=["beyond the last", "empty", "overlap", "out of order", "other batch", "none kept", "too many kept"],
)
def test_routes_that_do_not_fit_are_refused(routes: list[TokenRoute], transformer: Any, streams_of: StreamsOf) -> None:
    with pytest.raises(ShapeError, match="route"):
        denoise(transformer, *streams_of(), routes=routes)
