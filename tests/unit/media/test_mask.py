"""Masks of pictures as weights of latent places: which pixels and frames a place is the mean of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from datasets_spec import Clip, QuarantineReason
from ltx_core.media.clip import cells, check_shape, mask_weights, over_time
from ltx_core.media.errors import MediaError
from ltx_core.media.find import BESIDE, find_beside

ClipOf = Callable[..., Clip]
WriteVideo = Callable[..., Path]
Pixels = npt.NDArray[np.uint8]
AS_MASK = ("mask", QuarantineReason.BAD_MASK)


def picture(path: Path, white: npt.NDArray[np.bool_]) -> Path:
    Image.fromarray(white.astype(np.uint8) * 255).save(path)
    return path


def test_a_picture_counts_at_all_times(clip: ClipOf, tmp_path: Path) -> None:
    """64x96 pixels: a white column, and a quarter of the cell beside it."""
    white = np.zeros((64, 96), dtype=bool)
    white[:, :32], white[:16, 32:64] = True, True
    path = picture(tmp_path / "a_mask.png", white)
    found = mask_weights(clip(mask_path=str(path), width=96, height=64, num_frames=17))
    assert found is not None
    assert (found.shape, found.dtype) == ((3, 2, 3), np.float32)
    assert found[0].tolist() == [[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]
    assert (found == found[0]).all()
    assert mask_weights(clip()) is None


def test_a_video_counts_frame_by_frame(clip: ClipOf, write_video: WriteVideo) -> None:
    """White from frame 5 on: the first latent frame is its frame alone, the second the mean of the next eight."""
    frames = [np.full((64, 64, 3), 255 * (n >= 5), dtype=np.uint8) for n in range(30)]
    path = write_video("a_mask.mp4", frames)
    found = mask_weights(clip(mask_path=str(path), num_frames=9))
    assert found is not None
    assert found[:, 0, 0] == pytest.approx([0.0, 4 / 8], abs=0.02)
    later = mask_weights(clip(mask_path=str(path), num_frames=9, start_seconds=5 / 25))
    assert later is not None
    assert later[:, 0, 0] == pytest.approx([1.0, 1.0], abs=0.02)


def test_a_mask_that_leaves_nothing_is_told(clip: ClipOf, tmp_path: Path) -> None:
    path = picture(tmp_path / "black.png", np.zeros((64, 64), dtype=bool))
    with pytest.raises(MediaError, match="leaves nothing to train on") as caught:
        mask_weights(clip(mask_path=str(path)))
    assert caught.value.reason is QuarantineReason.BAD_MASK


def test_a_mask_that_ends_before_its_clip_is_too_short_and_not_cut_off(clip: ClipOf, write_video: WriteVideo) -> None:
    path = write_video("a_mask.mp4", [np.full((64, 64, 3), 255, dtype=np.uint8)] * 5)
    with pytest.raises(MediaError, match=r"^mask .* is shorter than its video: its frames end at 0\.20 s") as caught:
        mask_weights(clip(mask_path=str(path), num_frames=17))
    assert caught.value.reason is QuarantineReason.BAD_MASK


def test_cells_and_times_are_means() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert cells(frame)[1, 2] == pytest.approx(frame[32:, 64:].mean() / 255)
    many = rng.random((17, 2, 3)).astype(np.float32)
    found = over_time(many)
    assert (found[0] == many[0]).all()
    np.testing.assert_allclose(found[2], many[9:17].mean(axis=0), rtol=1e-6)


def test_the_shape_of_the_video_is_wanted(tmp_path: Path, write_video: WriteVideo) -> None:
    path = picture(tmp_path / "a.png", np.ones((40, 60), dtype=bool))
    check_shape(path, (1920, 1280), *AS_MASK)
    with pytest.raises(MediaError, match=r"60x40 and its video 1920x1080; the same shape is wanted"):
        check_shape(path, (1920, 1080), *AS_MASK)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match="is no image"):
        check_shape(tmp_path / "broken.png", (64, 64), *AS_MASK)
    check_shape(write_video("v.mp4", [np.zeros((48, 64, 3), dtype=np.uint8)] * 9), (640, 480), *AS_MASK)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_picture_is_a_bad_mask(clip: ClipOf, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="damaged image") as caught:
        mask_weights(clip(mask_path=str(path)))
    assert caught.value.reason is QuarantineReason.BAD_MASK
    if suffix == "png":  # all of it is read for its EXIF
        with pytest.raises(MediaError, match="damaged image") as early:
            check_shape(path, (64, 64), *AS_MASK)
        assert early.value.reason is QuarantineReason.BAD_MASK
    path.unlink()
    with pytest.raises(MediaError, match="there is no image") as gone:
        mask_weights(clip(mask_path=str(path)))
    assert gone.value.reason is QuarantineReason.BAD_MASK


def test_masks_are_found_by_the_name_of_their_video(tmp_path: Path) -> None:
    for name in ("a.mp4", "a_mask.png", "deep/b_mask.MP4", "deep/b.mp4", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def found(beside: bool) -> dict[str, list[str]]:
        return {
            name: [path.name for path in paths]
            for name, paths in find_beside(tmp_path, BESIDE["mask"], among=beside).items()
        }

    assert found(beside=True) == {"a": ["a_mask.png"], "deep/b": ["b_mask.MP4"]}
    assert found(beside=False) == {"a": ["a.mp4", "a_mask.png"], "deep/b": ["b.mp4", "b_mask.MP4"], "c": ["c.png"]}
