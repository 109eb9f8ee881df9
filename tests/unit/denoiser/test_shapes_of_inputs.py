from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltx_core.denoiser.tokens import (
    Stream,
    audio_positions,
    first_frame_keyframes,
    pack_video,
    unpack_video,
    video_positions,
)
from ltx_core.errors import ShapeError
from ltx_core.shapes import LatentShape

SHAPE = LatentShape(frames=3, height=2, width=4)


def test_positions_are_what_the_causal_vae_covers() -> None:
    positions = video_positions(SHAPE, frame_rate=8.0, batch=2)
    assert positions.shape == (2, 3, SHAPE.tokens, 2)
    seconds = positions[0, 0].reshape(*SHAPE, 2)[:, 0, 0]
    assert seconds.tolist() == [[0, 0.125], [0.125, 1.125], [1.125, 2.125]]
    last = positions[1, :, -1]
    assert last[1:].tolist() == [[32, 64], [96, 128]]


def test_audio_positions_are_seconds() -> None:
    positions = audio_positions(3)
    assert positions.shape == (1, 1, 3, 2)
    torch.testing.assert_close(positions[0, 0], torch.tensor([[0, 0.01], [0.01, 0.05], [0.05, 0.09]]))


def test_tokens_run_width_first_and_come_back() -> None:
    latents = torch.arange(2 * 5 * SHAPE.tokens).reshape(2, 5, *SHAPE)
    tokens = pack_video(latents)
    assert tokens[0, 1].equal(latents[0, :, 0, 0, 1])
    assert tokens[1, SHAPE.width].equal(latents[1, :, 0, 1, 0])
    assert unpack_video(tokens, SHAPE).equal(latents)


def test_keyframes_mark_the_first_latent_frame_as_packing_orders_it() -> None:
    marks = unpack_video(first_frame_keyframes(SHAPE, batch=2), SHAPE)
    assert marks[:, :, 0].all()
    assert not marks[:, :, 1:].any()
    assert first_frame_keyframes(LatentShape(1, 2, 2)).all()


def test_wrong_shapes_of_latents_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\[5, 3, 2, 4\]; \[B, C, F, H, W\]"):
        pack_video(torch.zeros(5, *SHAPE))
    with pytest.raises(ShapeError, match=r"\[B, 24, C\] is wanted"):
        unpack_video(torch.zeros(1, 23, 5), SHAPE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", torch.zeros(24, 8)),
        ("sigma", torch.zeros(2, 1)),
        ("timesteps", torch.zeros(2, 23)),
        ("positions", torch.zeros(2, 3, 23, 2)),
        ("context", torch.zeros(1, 6, 8)),
        ("keyframes", torch.zeros(2, 24)),
    ],
)
def test_a_stream_names_the_part_that_does_not_fit(name: str, value: torch.Tensor) -> None:
    parts: dict[str, Any] = {
        "tokens": torch.zeros(2, 24, 8),
        "timesteps": torch.zeros(2),
        "sigma": torch.zeros(2),
        "context": torch.zeros(2, 6, 8),
        "positions": video_positions(SHAPE, 24.0, 2),
        "keyframes": first_frame_keyframes(SHAPE, 2),
    }
    make: Callable[..., Stream] = Stream
    make(**parts)
    with pytest.raises(ShapeError, match=name):
        make(**{**parts, name: value})
