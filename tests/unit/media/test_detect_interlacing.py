"""What is interlaced is found, and what only looks so to `idet` is left alone."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from ltx_core.media.detect_interlacing import field_fit, look_at
from ltx_core.media.frames import decode_frames

Pixels = npt.NDArray[np.uint8]
WriteVideo = Callable[..., Path]
RNG = np.random.default_rng(5)


def stripes(n: int, step: float = 1.0) -> Pixels:
    """Slanted bars of one and a half lines, which move: sharper from line to line than fields of different times."""
    y, x = np.mgrid[0:96, 0:128]
    return np.repeat(((((x + 2 * y + step * n) // 3) % 2) * 200 + 20).astype(np.uint8)[..., None], 3, axis=2)


def noise(_n: int) -> Pixels:
    return np.repeat(RNG.integers(0, 256, (96, 128, 1), dtype=np.uint8), 3, axis=2)


def shifted(n: int) -> Pixels:
    return np.roll(np.repeat(np.random.default_rng(1).integers(0, 256, (96, 128, 1), np.uint8), 3, axis=2), n, axis=0)


def sideways(n: int) -> Pixels:
    y, x = np.mgrid[0:96, 0:128].astype(float)
    return np.repeat((120 + 90 * np.sin((x - 5 * n) / 6) * np.cos(y / 9)).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("draw", [stripes, noise, shifted, sideways])
@pytest.mark.parametrize("is_flagged", [False, True])
def test_progressive_pictures_are_left_alone(
    write_video: WriteVideo, draw: Callable[[int], Pixels], is_flagged: bool
) -> None:
    path = write_video("a.mkv", [draw(n) for n in range(40)], codec="mpeg2video" if is_flagged else "libx264")
    assert look_at(path, 40, 1.6, 25.0, "").scan == "progressive"


@pytest.mark.parametrize("top_first", [True, False])
def test_fields_are_found_and_made_whole(write_video: WriteVideo, top_first: bool) -> None:
    def woven(n: int) -> Pixels:
        early, late = sideways(2 * n), sideways(2 * n + 1)
        frame = early.copy()
        frame[int(top_first) :: 2] = late[int(top_first) :: 2]
        return frame

    path = write_video("a.mp4", [woven(n) for n in range(150)])
    scan = look_at(path, 150, 6.0, 25.0, "").scan
    assert scan == ("interlaced_tff" if top_first else "interlaced_bff")
    times = [4.0 + n / 25 for n in range(20)]
    whole = np.stack(list(decode_frames(path, times, scan=scan))).astype(int)
    wanted = np.stack([sideways(2 * (100 + n)) for n in range(20)]).astype(int)
    combed = np.stack(list(decode_frames(path, times))).astype(int)
    assert np.abs(whole - wanted).mean() < 4 < np.abs(combed - wanted).mean()


@pytest.mark.whole
def test_telecined_film_is_the_same_wherever_decoding_starts(write_video: WriteVideo) -> None:
    shown = [n for n in range(160) for _ in range(2 if n % 2 == 0 else 3)]
    frames = []
    for first, second in zip(shown[0::2], shown[1::2], strict=False):
        frame = sideways(first).copy()
        frame[1::2] = sideways(second)[1::2]
        frames.append(frame)
    path = write_video("a.mp4", frames, rate=30)
    scan = look_at(path, len(frames), len(frames) / 30, 30.0, "").scan
    assert scan == "telecined_tff"
    times = [n / 24 + 1 / 48 for n in range(140)]
    film = np.stack(list(decode_frames(path, times, scan=scan))).astype(int)
    wanted = np.stack([sideways(n) for n in range(140)]).astype(int)
    assert np.abs(film - wanted).mean(axis=(1, 2, 3)).max() < 6
    for start in (75, 101, 118):
        later = np.stack(list(decode_frames(path, times[start : start + 9], scan=scan))).astype(int)
        assert np.abs(later - film[start : start + 9]).max() <= 2


def test_interlaced_pictures_are_few_and_still_found(write_video: WriteVideo) -> None:
    """A programme that is mostly a still, and moves in a third of it."""
    frames = [sideways(0)] * 30
    for n in range(15):
        frame = sideways(2 * n).copy()
        frame[1::2] = sideways(2 * n + 1)[1::2]
        frames.append(frame)
    path = write_video("a.mp4", frames)
    assert look_at(path, len(frames), len(frames) / 25, 25.0, "").scan == "interlaced_tff"


def test_how_fields_fit() -> None:
    luma = [sideways(n)[..., 0].astype(np.int16) for n in range(6)]
    inside, outside = field_fit(luma[0], luma[2], luma[4])
    assert inside < 0.5 * outside
    woven = [luma[2 * n].copy() for n in range(3)]
    for n in range(2):
        woven[n][1::2] = luma[2 * n + 1][1::2]
    inside, outside = field_fit(*woven)
    assert inside > 0.9 * outside
    assert field_fit(luma[0], luma[0], luma[0]) == (0, 0)


def test_a_damaged_span_decides_nothing(write_video: WriteVideo) -> None:
    path = write_video("a.mp4", [sideways(n) for n in range(200)])
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size][100:140]
    data = bytearray(path.read_bytes())
    for position, size in spans:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    assert look_at(path, 200, 8.0, 25.0, "").scan == "progressive"
