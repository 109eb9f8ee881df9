"""A broken render is told from a real one by its pixels alone."""

import numpy as np
import numpy.typing as npt
import pytest

from ltx_core.media.measure import broken
from ltx_core.tiny.scenes import SCENES, draw

Pixels = npt.NDArray[np.uint8]
SHAPE = (9, 64, 96, 3)


def grain(strength: float, shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(3).standard_normal(shape) * strength).astype(np.float32)


def pixels(values: npt.NDArray[np.float32]) -> Pixels:
    return np.clip(values, 0, 255).round().astype(np.uint8)


def clip(scene: str) -> Pixels:
    return np.stack([draw(scene, frame / 25, 1.0, (96, 64)) for frame in range(9)])


@pytest.mark.parametrize("scene", SCENES)
def test_clips_that_show_something_are_whole(scene: str) -> None:
    assert broken(clip(scene)) is None


@pytest.mark.parametrize("level", [0, 3])
def test_black(level: int) -> None:
    assert str(broken(pixels(level + grain(0.4)))).startswith("black")


def test_one_colour() -> None:
    """Such as what a decoder makes of latents that are all alike."""
    assert str(broken(np.full(SHAPE, 120, dtype=np.uint8))).startswith("of one colour")


def test_a_dark_scene_is_not_black() -> None:
    assert broken(clip("blinking_firefly") // 8) is None


@pytest.mark.parametrize("strength", [12, 60, 500])
def test_noise(strength: float) -> None:
    assert str(broken(pixels(128 + grain(strength)))).startswith("noise")


def test_noise_that_flickers_as_a_whole() -> None:
    flicker = np.linspace(40, 200, SHAPE[0], dtype=np.float32)[:, None, None, None]
    assert str(broken(pixels(flicker + grain(30)))).startswith("noise")


@pytest.mark.parametrize("scene", ["falling_rain", "passing_hills"])
def test_a_grainy_clip_is_not_noise(scene: str) -> None:
    assert broken(pixels(clip(scene) + grain(12))) is None


@pytest.mark.parametrize("strength", [0, 1.5])
def test_frozen(strength: float) -> None:
    """A codec or a decoder may flicker."""
    still = np.repeat(clip("passing_hills")[:1], 9, axis=0)
    assert str(broken(pixels(still + grain(strength)))).startswith("frozen")


def test_noise_that_stands_still_is_frozen() -> None:
    still = np.repeat(pixels(128 + grain(60))[:1], 9, axis=0)
    assert str(broken(still)).startswith("frozen")


def test_a_small_thing_that_moves_is_not_frozen() -> None:
    frames = np.full((9, 512, 768, 3), 90, dtype=np.uint8)
    frames[:, :, ::7] = 60
    for number, frame in enumerate(frames):
        frame[100:116, 200 + 2 * number : 216 + 2 * number] = 200
    assert broken(frames) is None


def test_a_single_frame_is_never_frozen() -> None:
    assert broken(clip("passing_hills")[:1]) is None
