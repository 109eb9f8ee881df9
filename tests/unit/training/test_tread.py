"""Routes as they are set, and which tokens are kept at an occurrence."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from ltx_core.errors import ConfigError, ShapeError
from ltx_core.shapes import LatentShape
from ltx_core.training.batch import TrainBatch, collate
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import train_draw
from ltx_core.training.methods.settings import Route, block_routes
from ltx_core.training.methods.tread import num_skipping, tokens_kept
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.plan_settings import engine_options
from ltx_core.training.samples import ClipInfo

Clip = Callable[..., ClipInfo]
GUIDE = {"selection_ratio": 0.5, "start_layer_idx": 2, "end_layer_idx": -2}
FRAMES, PER_FRAME = 4, 6


def route(first: int, last: int, ratio: float = 0.5) -> Route:
    return Route(selection_ratio=ratio, start_layer_idx=first, end_layer_idx=last)


def kept_of(
    source_of: Any, clips: list[ClipInfo], occurrence: int = 0, **changes: Any
) -> tuple[tuple[torch.Tensor, ...], TrainBatch]:
    """The tokens kept of a batch, and the batch; its clips have 4 latent frames of 6 tokens."""
    settings = TrainSettings(**{"tread_routes": [GUIDE], **changes})
    latent = {clip.clip_id: {"video": torch.randn(4, FRAMES, 2, 3)} for clip in clips}
    occurrences = [SampleOccurrence(clip, occurrence) for clip in clips]
    batch = collate(
        clips,
        source_of(clips, latent),
        lambda i, video, audio: train_draw(occurrences[i], settings, video, audio),
        audio_channels=None,
    )
    return tokens_kept(block_routes(settings.tread_routes, 8), occurrences, batch, settings), batch


def test_negative_blocks_count_from_the_end_and_the_last_is_included() -> None:
    (guide,) = TrainSettings(tread_routes=[GUIDE]).tread_routes  # type: ignore[list-item]  # pydantic reads dicts
    assert block_routes([guide], 48) == ((2, 46, 0.5),)
    assert block_routes([route(-3, -1), route(0, 1, 0.2)], 5) == ((0, 1, 0.2), (2, 4, 0.5))
    assert block_routes([], 5) == ()


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5])
def test_share_is_between_none_and_all(ratio: float) -> None:
    with pytest.raises(ValidationError, match="selection_ratio"):
        route(0, 1, ratio)


@pytest.mark.parametrize(("first", "last"), [(3, 2), (-1, -2)])
def test_a_route_without_blocks_is_refused_at_once(first: int, last: int) -> None:
    with pytest.raises(ValidationError, match="empty"):
        route(first, last)


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([route(2, 5)], "blocks 0 to 4"),
        ([route(-6, 2)], "blocks 0 to 4"),
        ([route(4, -2)], "empty"),
        ([route(0, 2), route(2, 4)], "overlap"),
        ([route(2, -1), route(0, 3)], "overlap"),
    ],
)
def test_routes_that_do_not_fit_the_model_are_refused_before_it_is_loaded(routes: list[Route], message: str) -> None:
    settings = TrainSettings(tread_routes=tuple(routes))
    with pytest.raises(ConfigError, match=message):
        engine_options(settings, device="cpu", num_blocks=5, folder=None)


def test_routes_decide_the_lora() -> None:
    settings = [TrainSettings(tread_routes=routes) for routes in [(), (route(0, 1),), (route(0, 1, 0.4),)]]
    assert len({one.digest() for one in settings}) == 3


def test_half_is_kept_in_order(clip: Clip, source_of: Any) -> None:
    (kept,), _ = kept_of(source_of, [clip("a"), clip("b")])
    assert kept.shape == (2, 12)
    assert kept.dtype == torch.int64
    assert bool((kept.diff(dim=1) > 0).all())
    assert not kept[0].equal(kept[1])


def test_tokens_are_a_function_of_seed_occurrence_clip_and_route(clip: Clip, source_of: Any) -> None:
    two = {"tread_routes": [GUIDE | {"end_layer_idx": 3}, GUIDE | {"start_layer_idx": 5}]}
    torch.manual_seed(0)
    one, _ = kept_of(source_of, [clip("a"), clip("b")], **two)
    torch.manual_seed(1)
    again, _ = kept_of(source_of, [clip("b")], **two)
    assert all(first[1].equal(second[0]) for first, second in zip(one, again, strict=True))
    others = [kept_of(source_of, [clip("b")], occurrence=1)[0][0], kept_of(source_of, [clip("b")], seed=7)[0][0]]
    assert len({str(tokens.tolist()) for tokens in (*again, *others)}) == 4


@pytest.mark.parametrize("given", [{"first_frame_probability": 1.0}, {"prefix_probability": 1.0}])
@pytest.mark.parametrize("ratio", [0.5, 0.99])
def test_given_tokens_are_always_kept(given: dict[str, Any], ratio: float, clip: Clip, source_of: Any) -> None:
    for occurrence in range(5):
        (kept,), batch = kept_of(
            source_of, [clip("a"), clip("b")], occurrence, tread_routes=[GUIDE | {"selection_ratio": ratio}], **given
        )
        for tokens, weight in zip(kept, batch.video.weight, strict=True):
            assert set((weight == 0).nonzero().flatten().tolist()) <= set(tokens.tolist())
            assert weight[tokens].sum() >= 1


def test_how_many_are_kept_does_not_depend_on_what_an_occurrence_is_given(clip: Clip, source_of: Any) -> None:
    """Or a batch could not be cut, and a CUDA graph not be used again."""
    clips = [clip(name) for name in "abcdefgh"]
    (together,), batch = kept_of(source_of, clips, prefix_probability=0.5)
    assert len({int(weight.sum()) for weight in batch.video.weight}) == 2
    (alone,), _ = kept_of(source_of, clips[3:4], prefix_probability=0.5)
    assert together[3].equal(alone[0])
    assert together.shape[1] == 24 - 6


@pytest.mark.parametrize(
    ("changes", "ratio", "wanted"),
    [
        ({}, 0.5, 12),
        ({}, 0.99, 23),
        ({}, 0.01, 0),
        ({"first_frame_probability": 0.1}, 0.5, 9),
        ({"prefix_probability": 0.1, "prefix_latent_frames": 100}, 0.5, 3),
    ],
)
def test_number_of_tokens_set_aside(changes: dict[str, Any], ratio: float, wanted: int) -> None:
    assert num_skipping(LatentShape(FRAMES, 2, 3), ratio, TrainSettings(**changes)) == wanted


def test_more_given_tokens_than_the_settings_allow_is_an_error(clip: Clip, source_of: Any) -> None:
    _, batch = kept_of(source_of, [clip("a")], prefix_probability=1.0, prefix_latent_frames=3)
    with pytest.raises(ShapeError, match="set"):
        tokens_kept(block_routes([route(0, 1)], 4), [SampleOccurrence(clip("a"), 0)], batch, TrainSettings())


def test_batch_carries_its_kept_tokens_along(clip: Clip, source_of: Any) -> None:
    kept, batch = kept_of(source_of, [clip("a")])
    moved = replace(batch, extras={"tread.000": kept[0]}).to("meta")
    assert [tokens.device.type for tokens in moved.extras.values()] == ["meta"]
    assert batch.shape == (FRAMES, 2, 3)
