"""Pixels of reference videos: what each derivation shows, and whose clock and size a file has."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from datasets_spec import Clip, QuarantineReason
from ltx_core.media.clip import check_shape, clip_reference, image_key, keyed, video_key, whole_clip
from ltx_core.media.errors import MediaError
from ltx_core.media.find import BESIDE, find_beside
from ltx_core.media.reference import derived_reference

ClipOf = Callable[..., Clip]
WriteVideo = Callable[..., Path]
Pixels = npt.NDArray[np.uint8]


def halves(num_frames: int = 1) -> Pixels:
    """64x64 pixels, dark red at the left and light blue at the right."""
    frames = np.zeros((num_frames, 64, 64, 3), dtype=np.uint8)
    frames[:, :, :32, 0], frames[:, :, 32:] = 100, (150, 200, 255)
    return frames


def test_edges_are_white_where_something_ends() -> None:
    found = derived_reference(halves(3), "edges", (64, 64))
    assert found.shape == (3, 64, 64, 3)
    assert (found == found[0]).all()
    columns = found[0].max(axis=(0, 2))
    assert columns[30:34].max() > 150
    assert columns[:24].max() == 0
    assert columns[40:].max() == 0


def test_gray_has_the_brightness_and_no_colour() -> None:
    found = derived_reference(halves(), "gray", (64, 64))[0].astype(int)
    assert (found == found[:, :, :1]).all()
    assert found[0, 0, 0] == pytest.approx(0.299 * 100, abs=2)
    assert found[0, 63, 0] == pytest.approx(0.299 * 150 + 0.587 * 200 + 0.114 * 255, abs=2)


def test_low_resolution_averages_what_is_small() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    found = derived_reference(noise, "low_resolution", (64, 64))
    assert found.shape == noise.shape
    assert found.std() < noise.std() / 4
    assert found.mean() == pytest.approx(noise.mean(), abs=4)


@pytest.mark.parametrize("derive", ["edges", "gray", "low_resolution"])
def test_references_may_be_smaller(derive: str) -> None:
    assert derived_reference(halves(9), derive, (32, 32)).shape == (9, 32, 32, 3)  # type: ignore[arg-type]


def test_a_file_has_the_clips_clock_and_size(clip: ClipOf, write_video: WriteVideo) -> None:
    """Brighter by 8 with every frame: the clip's span of it is what is read."""
    path = write_video("r.mp4", [np.full((64, 64, 3), 8 * n, dtype=np.uint8) for n in range(30)])
    asked = {"reference": "file", "reference_key": "k", "reference_path": str(path), "reference_downscale": 2}
    found = clip_reference(clip(num_frames=9, start_seconds=4 / 25, **asked))
    assert found is not None
    assert found.shape == (9, 32, 32, 3)
    assert found.mean(axis=(1, 2, 3)) == pytest.approx([8 * n for n in range(4, 13)], abs=3)
    with pytest.raises(MediaError, match=r"^reference .* is shorter than its video: .* is wanted") as caught:
        clip_reference(clip(num_frames=33, start_seconds=12 / 25, **asked))
    assert caught.value.reason is QuarantineReason.BAD_REFERENCE


def test_a_mirrored_clip_has_a_mirrored_reference(clip: ClipOf, write_video: WriteVideo) -> None:
    path = write_video("r.mp4", list(halves(9)))
    asked = {"reference": "file", "reference_key": "k", "reference_path": str(path), "num_frames": 9}
    plain, turned = (clip_reference(clip(**asked, is_mirrored=mirrored)) for mirrored in (False, True))
    assert plain is not None
    assert turned is not None
    assert np.array_equal(turned, plain[:, :, ::-1])


def test_a_derived_one_is_made_of_the_clips_own_frames(clip: ClipOf, write_video: WriteVideo) -> None:
    made = clip(path=str(write_video("v.mp4", list(halves(9)))), num_frames=9, reference="gray", reference_downscale=2)
    whole = whole_clip(made)
    assert whole.reference is not None
    assert np.array_equal(whole.reference, derived_reference(whole.frames, "gray", (32, 32)))
    again = clip_reference(made)
    assert again is not None
    assert np.array_equal(again, whole.reference)


def test_keys_say_what_a_reference_is_made_of(clip: ClipOf) -> None:
    plain = clip()
    file = {"reference": "file", "reference_key": "a"}
    kinds = [clip(reference="gray"), clip(reference="edges"), clip(reference="edges", reference_downscale=2)]
    kinds += [clip(**file), clip(**file | {"reference_key": "b"})]
    keys = [keyed(one) for one in (plain, *kinds)]
    assert len(set(keys)) == len(keys)
    assert {image_key(one) for one in kinds} == {image_key(plain)}
    assert len({video_key(one) for one in kinds}) == len(kinds)


def test_references_of_another_shape_are_refused(write_video: WriteVideo) -> None:
    path = write_video("r.mp4", list(halves(9)))
    check_shape(path, (640, 640), "reference", QuarantineReason.BAD_REFERENCE)
    with pytest.raises(MediaError, match="same shape") as caught:
        check_shape(path, (640, 480), "reference", QuarantineReason.BAD_REFERENCE)
    assert caught.value.reason is QuarantineReason.BAD_REFERENCE


def test_names_are_found_as_those_of_masks(tmp_path: Path) -> None:
    for name in ("a.mp4", "a_reference.mp4", "b_Reference.PNG", "c.txt"):
        (tmp_path / name).touch()
    assert sorted(find_beside(tmp_path, BESIDE["reference"], among=True)) == ["a", "b"]
    assert [path.name for path in find_beside(tmp_path, BESIDE["reference"])["a"]] == ["a.mp4", "a_reference.mp4"]
