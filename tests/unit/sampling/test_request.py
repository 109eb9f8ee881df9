"""Requests: what is refused and what to use instead, and what names a render."""

import math
from collections.abc import Callable

import pytest

from ltx_core.errors import ConfigError, ShapeError
from ltx_core.sampling.guidance import Guidance, StreamGuidance
from ltx_core.sampling.request import RenderRequest

WEIGHTS = {"transformer": "aa", "video_vae": "bb"}


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        ({"num_frames": 61}, r"\[57, 32, 64\]"),
        ({"width": 100}, r"\[9, 32, 96\]"),
        ({"height": 31}, r"\[9, 32, 64\]"),
        ({"num_frames": -7}, r"\[1, 32, 64\]"),
        ({"width": 0}, r"\[9, 32, 32\]"),
    ],
)
def test_refuses_shapes_and_names_a_legal_one(
    request_of: Callable[..., RenderRequest], changes: dict[str, int], nearest: str
) -> None:
    with pytest.raises(ShapeError, match=nearest):
        request_of(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "  "},
        {"frame_rate": 0.0},
        {"frame_rate": math.nan},
        {"seed": -1},
        {"num_steps": 1},
        {"mode": "v2v"},
        {"mode": "i2v"},
        {"conditioning_key": "abc"},
        {"schedule": "distilled", "num_steps": 30},
    ],
)
def test_refuses_and_names_the_field(request_of: Callable[..., RenderRequest], changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=list(changes)[-1]):
        request_of(**changes)


def test_sizes(request_of: Callable[..., RenderRequest]) -> None:
    request = request_of(num_frames=121, width=768, height=512, frame_rate=25.0)
    assert request.grid == (16, 16, 24)
    assert request.audio_tokens == 121


def test_key_is_a_function_of_everything_that_shapes_the_result(request_of: Callable[..., RenderRequest]) -> None:
    guided = Guidance(video=StreamGuidance(cfg=3))
    requests = [
        request_of(),
        request_of(prompt="a robot"),
        request_of(seed=8),
        request_of(width=96),
        request_of(num_frames=17),
        request_of(frame_rate=25.0),
        request_of(num_steps=3),
        request_of(guidance=guided),
        request_of(guidance=guided, negative_prompt="blurry"),
        request_of(mode="i2v", conditioning_key="a"),
        request_of(mode="i2v", conditioning_key="b"),
        request_of(mode="extend", conditioning_key="a"),
        request_of(mode="inpaint", conditioning_key="a"),
    ]
    keys = [request.key(WEIGHTS) for request in requests]
    keys += [request_of().key(WEIGHTS, adapters) for adapters in ([("a", 1.0)], [("a", 0.5)], [("a", 1.0), ("b", 1.0)])]
    keys += [request_of().key({**WEIGHTS, "video_vae": "cc"})]
    assert len(set(keys)) == len(keys)
    assert request_of().key(dict(reversed(WEIGHTS.items()))) == keys[0]


def test_unused_negative_prompt_does_not_change_the_key(request_of: Callable[..., RenderRequest]) -> None:
    assert request_of(negative_prompt="blurry").key(WEIGHTS) == request_of().key(WEIGHTS)
