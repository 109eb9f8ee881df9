from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from datasets_spec import QuarantineReason
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames

Pixels = npt.NDArray[np.uint8]
Number = tuple[Callable[[int], Pixels], Callable[[Pixels], int]]
WriteVideo = Callable[..., Path]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
@pytest.mark.parametrize("rate", [60.0, 30.0, 24000 / 1001, 30000 / 1001, 25.0, 12.5])
def test_frames_are_those_on_screen(write_video: WriteVideo, number: Number, suffix: str, rate: float) -> None:
    show, read = number
    count = int(1.2 * rate)
    path = write_video(f"a.{suffix}", [show(n) for n in range(count)], rate=rate)
    times = [n / 25 for n in range(25)]
    shown = [read(frame) for frame in decode_frames(path, times)]
    # A time that is a frame's own belongs to that frame, whatever the container rounds to: mkv, to milliseconds.
    rounding = 1.1e-3 if suffix == "mkv" else 1.1e-4
    assert shown == [int(np.floor((time + rounding) * rate)) for time in times]


def test_native_rate_gives_every_frame_once(write_video: WriteVideo, number: Number) -> None:
    show, read = number
    rate = 24000 / 1001
    for suffix in ("mkv", "mp4"):
        path = write_video(f"a.{suffix}", [show(n) for n in range(60)], rate=rate)
        assert [read(f) for f in decode_frames(path, [n / rate for n in range(60)])] == list(range(60))


def test_variable_rate(write_video: WriteVideo, number: Number) -> None:
    show, read = number
    stamps = [0.0, 0.04, 0.30, 0.31, 0.32, 0.70, 1.00, 1.02]
    path = write_video("vfr.mp4", [show(n) for n in range(len(stamps))], stamps=stamps)
    times = [n / 25 for n in range(26)]
    shown = [read(frame) for frame in decode_frames(path, times)]
    assert shown == [max(n for n, stamp in enumerate(stamps) if stamp <= time + 1e-3) for time in times]


def test_clock_begins_at_the_first_frame(write_video: WriteVideo, number: Number) -> None:
    show, read = number
    path = write_video("late.mkv", [show(n) for n in range(30)], stamps=[5 + n / 25 for n in range(30)])
    assert [read(frame) for frame in decode_frames(path, [-1.0, 0.0, 0.4, 1.16])] == [0, 0, 10, 29]


@pytest.mark.whole
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "mpg"])
def test_seeking_gives_what_decoding_from_the_start_gives(write_video: WriteVideo, number: Number, suffix: str) -> None:
    show, read = number
    codec = {"avi": "mpeg4", "mpg": "mpeg2video"}.get(suffix, "libx264")
    pictures = [show(n // 2) for n in range(400)]
    path = write_video(f"long.{suffix}", pictures, rate=50, codec=codec)
    for start in (3.5, 5.0, 7.3):
        times = [start + n / 25 for n in range(9)]
        later = list(decode_frames(path, times))
        whole = list(decode_frames(path, [0.0, *times]))[1:]
        assert [read(frame) for frame in later] == [round(time * 50) // 2 for time in times]
        assert all(np.array_equal(a, b) for a, b in zip(later, whole, strict=True))


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (270, (0, 1))])
def test_rotation(write_video: WriteVideo, degrees: int, corner: tuple[int, int]) -> None:
    """ffmpeg's display rotation is counter-clockwise: at 90, what was stored top left is shown bottom left."""
    picture = np.full((48, 64, 3), 30, dtype=np.uint8)
    picture[:16, :16] = 230
    path = write_video("turned.mp4", [picture] * 3, rotation=degrees)
    (frame,) = decode_frames(path, [0.0])
    assert frame.shape == ((48, 64, 3) if degrees % 180 == 0 else (64, 48, 3))
    corners = [[frame[:12, :12].mean(), frame[:12, -12:].mean()], [frame[-12:, :12].mean(), frame[-12:, -12:].mean()]]
    brightest = np.unravel_index(np.argmax(corners), (2, 2))
    assert tuple(int(i) for i in brightest) == corner
    assert np.sort(np.ravel(corners))[2] < 60


def test_pixel_aspect_is_undone(write_video: WriteVideo, plain: Callable[..., Pixels]) -> None:
    path = write_video("wide.mp4", [plain(90)] * 3, aspect=Fraction(3, 2))
    (frame,) = decode_frames(path, [0.0])
    assert frame.shape == (48, 96, 3)


def test_colours_come_back(write_video: WriteVideo) -> None:
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    picture[:, :20], picture[:, 20:40], picture[:, 40:] = (220, 30, 30), (30, 200, 40), (240, 240, 240)
    (frame,) = decode_frames(write_video("colours.mp4", [picture] * 3), [0.0])
    for column in (8, 30, 52):
        assert np.abs(frame[24, column].astype(int) - picture[24, column]).max() <= 6


def test_luma_is_full_range(write_video: WriteVideo, plain: Callable[..., Pixels]) -> None:
    path = write_video("levels.mp4", [plain(0)] * 5 + [plain(255)] * 5)
    black, white = decode_frames(path, [0.0, 0.3], luma=True)
    assert black.shape == (48, 64)
    assert black.max() <= 2
    assert white.min() >= 253


def test_times_past_the_end_are_refused(write_video: WriteVideo, number: Number) -> None:
    show, read = number
    path = write_video("short.mp4", [show(n) for n in range(10)])
    assert read(next(decode_frames(path, [0.45]))) == 9
    with pytest.raises(MediaError) as caught:
        list(decode_frames(path, [0.0, 2.0]))
    assert caught.value.reason is QuarantineReason.TRUNCATED


def test_times_must_not_decrease(write_video: WriteVideo, plain: Callable[..., Pixels]) -> None:
    path = write_video("a.mp4", [plain(9)] * 3)
    with pytest.raises(ValueError, match="decrease"):
        list(decode_frames(path, [0.1, 0.0]))
    assert list(decode_frames(path, [])) == []
