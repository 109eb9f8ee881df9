"""Picture files as frames of footage."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_spec import Clip
from ltx_core.errors import DataError
from ltx_core.media.clip import clip_frames
from ltx_core.media.image import image_size, read_image

WriteVideo = Callable[..., Path]
ClipOf = Callable[..., Clip]

WIDTH, HEIGHT = 96, 64


def corners() -> np.ndarray:
    """Black, with the left upper corner red and the right upper one green: uint8 [64, 96, 3]."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:32, :32, 0] = 250
    picture[:32, -32:, 1] = 250
    return picture


def save(path: Path, pixels: np.ndarray, *, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_pixels_are_kept_where_nothing_is_scaled(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", corners())
    assert np.array_equal(read_image(path, (WIDTH, HEIGHT)), corners())
    assert np.array_equal(read_image(path, (32, 64)), corners()[:, 32:64]), "the middle is kept"
    assert image_size(path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda shown: shown),
        (2, lambda shown: shown[:, ::-1]),
        (3, lambda shown: shown[::-1, ::-1]),
        (6, lambda shown: np.rot90(shown, 1)),
        (8, lambda shown: np.rot90(shown, -1)),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_orientation_is_followed(tmp_path: Path, orientation: int, stored: object, suffix: str) -> None:
    pixels = np.ascontiguousarray(stored(corners()))  # type: ignore[operator]  # one of the lambdas above
    path = save(tmp_path / f"a.{suffix}", pixels, orientation=orientation)
    assert image_size(path) == (WIDTH, HEIGHT)
    shown = read_image(path, (WIDTH, HEIGHT)).astype(int)
    assert np.abs(shown - corners()).mean() < 4  # JPEG halves the colours' resolution


def test_scaled_and_cropped_as_footage(tmp_path: Path, write_video: WriteVideo, clip: ClipOf) -> None:
    generator = np.random.default_rng(0)
    pixels = np.asarray(Image.fromarray(generator.integers(40, 200, (6, 8, 3), np.uint8)).resize((160, 120)))
    picture = save(tmp_path / "a.png", pixels)
    footage = clip_frames(clip(path=str(write_video("a.mkv", [pixels] * 9)), width=64, height=64))[0].astype(int)
    difference = read_image(picture, (64, 64)).astype(int) - footage
    assert np.abs(difference).mean() < 3  # H.264 at crf 4, half the colours
    shifted = np.roll(footage, 1, axis=1) - footage
    assert np.abs(shifted).mean() > np.abs(difference).mean(), "one pixel beside would show"


def test_transparency_is_black_and_grey_is_colour(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64, 4), (200, 100, 50, 0), np.uint8)).save(tmp_path / "clear.png")
    assert not read_image(tmp_path / "clear.png", (64, 64)).any()
    Image.new("L", (64, 64), 77).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png", (64, 64)) == 77).all()
    Image.new("P", (64, 64), 0).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png", (64, 64)).shape == (64, 64, 3)


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no image"):
        read_image(tmp_path / "absent.png", (64, 64))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match="is no image that can be opened"):
        read_image(tmp_path / "text.png", (64, 64))
    Image.fromarray(np.zeros((8, 8), np.int32)).save(tmp_path / "deep.tiff")
    with pytest.raises(DataError, match="numbers of 32 bits"):
        read_image(tmp_path / "deep.tiff", (64, 64))
    whole = save(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    (tmp_path / "torn.png").write_bytes(whole.read_bytes()[:4000])
    with pytest.raises(DataError, match="damaged image"):
        read_image(tmp_path / "torn.png", (64, 64))
