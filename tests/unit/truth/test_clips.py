"""Measures of clips are zero where nothing changes, and grow with what they are named after."""

import pytest
import torch

from benchmarks.truth import clips
from ltx_core.tiny.world import Spec, codes, draw, play, scene
from tests.detectors import find_objects


def made(motion: str = "still", colour: str = "red", audio: str = "low", seed: int = 3) -> clips.Clips:
    generator = torch.Generator().manual_seed(seed)
    named = codes([Spec(((colour, "square"),), motion, "dark", audio)])
    placed = scene(named, generator)
    return clips.Clips(draw(placed)[0], play(named, placed, generator))


def blinking(pixels: torch.Tensor, size: float) -> torch.Tensor:
    steps = torch.arange(pixels.shape[2]) % 2
    return (pixels + size * steps[:, None, None]).clamp(-1, 1)


def test_flicker_is_of_the_background_and_not_of_motion() -> None:
    for motion in ("still", "right", "growing"):
        pixels = made(motion).pixels
        assert float(clips.flicker(pixels, find_objects(pixels))) == pytest.approx(0, abs=1e-4)
    pixels = blinking(made("right").pixels, 0.1)
    assert float(clips.flicker(pixels, find_objects(pixels))) == pytest.approx(12.75, rel=0.01)


def test_colour_that_wanders() -> None:
    pixels = made().pixels
    found = find_objects(pixels)
    assert float(clips.colour_wander(pixels, found)) < 0.5
    assert float(clips.colour_wander(blinking(pixels, 0.1), found)) > 3


def test_drift_compares_the_ends() -> None:
    pixels = made().pixels
    assert float(clips.drift(pixels)) < 0.02
    darker = pixels - torch.linspace(0, 0.3, pixels.shape[2])[:, None, None]
    assert float(clips.drift(darker)) > 0.2


def test_colour_distance() -> None:
    found = find_objects(made(colour="pink").pixels)
    assert float(clips.colour_distance(found, "pink")) < 0.1
    assert float(clips.colour_distance(found, "green")) > 1


def test_psnr_counts_only_the_places_asked_for() -> None:
    pixels = made().pixels
    where = torch.ones(pixels.shape[-2:])
    where[:32] = 0
    other = pixels.clone()
    other[..., :32, :] += 1
    assert float(clips.psnr(pixels, other, where)) == pytest.approx(66.02, abs=0.1)  # of an error of 1e-6, the least
    assert float(clips.psnr(pixels, pixels + 0.2)) == pytest.approx(20, abs=0.01)


def test_places_are_compared_across() -> None:
    pixels = made().pixels
    moved = torch.roll(pixels, 16, dims=-1)
    assert float(clips.place_error(pixels, pixels)) == 0
    assert float(clips.place_error(pixels, moved)) == pytest.approx(16 / 128, rel=0.05)


def test_audio_that_differs() -> None:
    low, again, high = made().audio, made().audio, made(audio="high").audio
    assert float(clips.audio_distance(low, again)) == 0
    assert float(clips.audio_distance(low, high)) > float(clips.audio_distance(low, 0.9 * low)) > 0


def test_a_figure_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        clips.mean(torch.tensor([1.0, float("nan")]))
