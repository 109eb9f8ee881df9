"""What we write: renders as MP4, and contact sheets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from ltx_core.errors import ShapeError
from ltx_core.media.audio import decode_audio
from ltx_core.media.frames import decode_frames
from ltx_core.media.mp4 import RENDER_THREADS, write_mp4
from ltx_core.media.probe import probe_media

Pixels = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.float32]
Number = tuple[Callable[[int], Pixels], Callable[[Pixels], int]]


def tone(seconds: float, rate: int) -> Sound:
    time = np.arange(round(seconds * rate)) / rate
    return np.tile((0.5 * np.sin(2 * np.pi * 440 * time) * (time >= 0.4)).astype(np.float32), (2, 1))


@pytest.mark.parametrize(("frame_rate", "sound_rate"), [(25.0, 24_000), (24.0, 48_000), (24000 / 1001, 16_000)])
def test_what_is_written_is_read(tmp_path: Path, number: Number, frame_rate: float, sound_rate: int) -> None:
    show, read = number
    path = tmp_path / "a.mp4"
    write_mp4(path, np.stack([show(n) for n in range(33)]), frame_rate, tone(3, sound_rate), sound_rate)
    info = probe_media(path)
    assert (info.num_frames, info.width, info.height, info.video_codec) == (33, 64, 48, "h264")
    assert info.frame_rate == pytest.approx(frame_rate, rel=1e-4)
    assert (info.audio_codec, info.audio_channels, info.audio_rate) == ("aac", 2, sound_rate)
    assert [read(f) for f in decode_frames(path, [n / frame_rate for n in range(33)])] == list(range(33))
    heard = decode_audio(path, 0, 33 / frame_rate)
    assert heard is not None
    assert abs(np.argmax(np.abs(heard[0]) > 0.1) / 16_000 - 0.4) < 0.01
    with av.open(str(path)) as container:
        assert container.duration / 1e6 <= 33 / frame_rate + 1024 / sound_rate + 1e-3
        assert container.streams.video[0].start_time == 0
        assert container.streams.video[0].pix_fmt == "yuv420p"
        assert "creation_time" not in container.metadata


@pytest.mark.parametrize("threads", [1, RENDER_THREADS])
def test_same_input_same_bytes(tmp_path: Path, threads: int) -> None:
    source = np.random.default_rng(0)
    frames = source.integers(0, 256, (17, 64, 96, 3), dtype=np.uint8)
    paths = [tmp_path / "a.mp4", tmp_path / "deep" / "b.mp4"]
    for path in paths:
        write_mp4(path, frames, 25, tone(1, 24_000), 24_000, threads=threads)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert first.index(b"moov") < first.index(b"mdat")
    assert not list(tmp_path.glob(".partial*"))


def test_colours_and_no_sound(tmp_path: Path) -> None:
    frames = np.zeros((5, 48, 64, 3), dtype=np.uint8)
    frames[:, :, :32], frames[:, :, 32:] = (200, 40, 60), (20, 160, 220)
    path = tmp_path / "a.mp4"
    write_mp4(path, frames, 25, None, 24_000)
    (back,) = decode_frames(path, [0.0])
    for column in (12, 50):
        assert np.abs(back[24, column].astype(int) - frames[0, 24, column]).max() <= 6
    assert probe_media(path).audio_codec is None


def test_wrong_shapes(tmp_path: Path) -> None:
    frames = np.zeros((5, 48, 64, 3), dtype=np.uint8)
    wrongs: list[Any] = [frames[:, :47], frames[:0], frames[..., 0], frames.astype(np.float32)]
    for wrong in wrongs:
        with pytest.raises(ShapeError, match="frames are"):
            write_mp4(tmp_path / "a.mp4", wrong, 25, None, 24_000)
    with pytest.raises(ShapeError, match="audio is"):
        write_mp4(tmp_path / "a.mp4", frames, 25, np.zeros((1, 99), dtype=np.float32), 24_000)
    assert not (tmp_path / "a.mp4").exists()
