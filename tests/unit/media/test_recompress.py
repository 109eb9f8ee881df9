"""A given picture is compressed as Lightricks' inference does it: one frame of H.264 at a constant rate factor."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltx_core.errors import DataError
from ltx_core.media.image import read_image, recompressed


def textured(height: int = 96, width: int = 128) -> np.ndarray:
    """Smooth colours with grain, of which a codec keeps little."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    smooth = np.stack([rows, columns, 1 - rows], axis=-1) * 160 + 40
    return (smooth + np.random.default_rng(0).integers(-25, 26, smooth.shape)).astype(np.uint8)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_more_is_lost_at_a_higher_factor_and_the_picture_stays() -> None:
    picture = textured()
    smooth = Image.fromarray(picture).resize((16, 12)).resize((128, 96))
    lost = [distance(recompressed(picture, crf), picture) for crf in (1, 18, 33, 51)]
    assert lost == sorted(lost)
    assert lost[1] > 1
    assert distance(recompressed(picture, 33), np.asarray(smooth)) < 8, "colours and their places are kept"
    assert np.array_equal(recompressed(picture, 33), recompressed(picture, 33))


@pytest.mark.parametrize("crf", [18, 33])
def test_odd_edges_lose_their_last_pixels_as_in_lightricks(crf: int) -> None:
    picture = textured(97, 129)
    assert np.array_equal(recompressed(picture, crf), recompressed(picture[:96, :128], crf))


def test_what_is_not_compressed_is_as_it_was() -> None:
    picture, line = textured(), np.full((1, 40, 3), 7, np.uint8)
    assert recompressed(picture, 0) is picture
    assert recompressed(line, 33) is line
    assert recompressed(np.full((2, 2, 3), 90, np.uint8), 33).shape == (2, 2, 3)


def test_a_picture_that_x264_cannot_take_is_told() -> None:
    with pytest.raises(DataError, match=r"20000x16 cannot be compressed .* render_validation.image_crf: 0"):
        recompressed(np.zeros((16, 20000, 3), np.uint8), 33)


def test_files_are_compressed_at_their_own_size(tmp_path: Path) -> None:
    """Before they are scaled, as Lightricks does."""
    Image.fromarray(textured()).save(path := tmp_path / "a.png")
    Image.fromarray(recompressed(textured(), 33)).save(done := tmp_path / "b.png")
    size = (64, 32)
    assert np.array_equal(read_image(path, size, crf=33), read_image(done, size))
    assert not np.array_equal(read_image(path, size, crf=33), read_image(path, size))
