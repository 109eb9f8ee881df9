"""What each kind of conditioning does to the state of a sample."""

import pytest
import torch

from ltx_core.conditioning.kinds import (
    Conditioning,
    FirstFrame,
    Mask,
    Prefix,
    WholeAudio,
    kept_places,
    mask_tokens,
    outside,
)
from ltx_core.conditioning.state import SampleState
from ltx_core.denoiser.tokens import pack_video
from ltx_core.errors import ShapeError
from ltx_core.sampling.sampler import initial_state
from ltx_core.shapes import LatentShape

GRID = LatentShape(3, 2, 2)
CHANNELS, NUM_AUDIO, AUDIO_CHANNELS = 4, 9, 8


def start() -> SampleState:
    return initial_state(3, GRID, CHANNELS, NUM_AUDIO, AUDIO_CHANNELS)


def latent(frames: int = GRID.frames) -> torch.Tensor:
    return torch.randn(CHANNELS, frames, 2, 2, generator=torch.Generator().manual_seed(1))


def check(conditioned: SampleState, kept: torch.Tensor, clean: torch.Tensor) -> None:
    """`clean` [T] tokens are those of `kept` [T, C], the others are the noise they were."""
    before = start()
    assert conditioned.video.clean[0].equal(clean)
    assert conditioned.video.tokens[0, clean].equal(kept[clean])
    assert conditioned.video.tokens[0, ~clean].equal(before.video.tokens[0, ~clean])
    assert conditioned.audio is before.audio or conditioned.audio.tokens.equal(before.audio.tokens)


def test_prefix_gives_its_frames_and_nothing_else() -> None:
    kept = latent(2)
    whole = pack_video(torch.cat([kept, torch.zeros(CHANNELS, 1, 2, 2)], dim=1)[None])[0]
    check(Prefix(kept).apply(start()), whole, torch.arange(12) < 8)


def test_first_frame_is_a_prefix_of_one() -> None:
    frame = latent(1)
    one, other = FirstFrame(frame).apply(start()), Prefix(frame).apply(start())
    assert one.video.tokens.equal(other.video.tokens)
    assert one.video.clean.equal(other.video.clean)
    assert one.video.clean.sum() == 4


def test_mask_gives_what_is_above_one_half() -> None:
    kept = torch.zeros(GRID)
    kept[0, 1, 0], kept[2, 0, 1], kept[1, 0, 0] = 1.0, 0.51, 0.5
    clean = torch.zeros(12, dtype=torch.bool)
    clean[[2, 9]] = True  # frame, row, column: width fastest
    check(Mask(latent(), kept).apply(start()), pack_video(latent()[None])[0], clean)


def test_mask_and_sound_join() -> None:
    sound = torch.ones(NUM_AUDIO, AUDIO_CHANNELS)
    kept = torch.zeros(GRID)
    kept[0] = 1
    state = WholeAudio(sound).apply(Mask(latent(), kept).apply(start()))
    assert state.audio.clean.all()
    assert state.audio.tokens[0].equal(sound)
    assert state.video.clean[0].equal(torch.arange(12) < 4)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Prefix(latent(3)), "n from 1 to 2"),
        (Prefix(torch.zeros(CHANNELS, 0, 2, 2)), "n from 1 to 2"),
        (Prefix(torch.zeros(CHANNELS, 1, 2, 3)), "first frame latent is"),
        (FirstFrame(latent(2)), r"\[C, 1, H, W\] is wanted"),
        (Mask(latent(2), torch.zeros(GRID)), "latent under the mask"),
        (Mask(latent(), torch.zeros(2, 2, 2)), "mask is"),
        (Mask(latent(), torch.ones(GRID)), "keeps every place"),
    ],
)
def test_what_does_not_fit_is_named(kind: Conditioning, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        kind.apply(start())


def test_mask_is_in_the_order_of_tokens() -> None:
    kept = torch.rand(GRID, generator=torch.Generator().manual_seed(2))
    assert mask_tokens(kept, GRID).equal(pack_video(kept[None, None])[0, :, 0] > 0.5)


def test_a_place_is_kept_only_if_all_its_pixels_are() -> None:
    kept = torch.ones(64, 64)
    kept[40, 3] = 0.5
    places = kept_places(kept, GRID)
    assert places.shape == tuple(GRID)
    assert places.tolist() == [[[1, 1], [0, 1]]] * 3
    with pytest.raises(ShapeError, match="mask of pixels"):
        kept_places(torch.ones(64, 32), GRID)


@pytest.mark.parametrize(
    ("region", "made"),
    [
        ((0.0, 0.0, 0.5, 1.0), [[1, 0], [1, 0]]),
        ((0.5, 0.0, 1.0, 0.5), [[0, 1], [0, 0]]),
        ((0.45, 0.45, 0.55, 0.55), [[1, 1], [1, 1]]),
        ((0.1, 0.6, 0.2, 0.7), [[0, 0], [1, 0]]),
    ],
)
def test_places_that_a_region_touches_are_made_anew(
    region: tuple[float, float, float, float], made: list[list[int]]
) -> None:
    assert (1 - outside(region, GRID)).tolist() == [made] * 3
