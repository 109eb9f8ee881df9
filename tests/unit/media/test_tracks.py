"""Which of several tracks is taken, and files that are whole though their headers and packets seem to disagree."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.stream import Disposition

from datasets_spec import QuarantineReason
from ltx_core.media.audio import decode_audio
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames
from ltx_core.media.probe import probe_media

Pixels = npt.NDArray[np.uint8]
Number = tuple[Callable[[int], Pixels], Callable[[Pixels], int]]
WriteVideo = Callable[..., Path]


def write_tracks(path: Path, videos: list[list[Pixels]], sounds: list[float], defaults: tuple[int, int]) -> None:
    """A Matroska file of video tracks at 25 fps, and of tones of so many Hz for a second; one of each marked."""
    with av.open(str(path), "w") as container:
        streams: list[tuple[Any, list[Any]]] = []
        for n, pictures in enumerate(videos):
            stream: Any = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
            stream.disposition = Disposition.default if n == defaults[0] else Disposition(0)
            streams.append((stream, [av.VideoFrame.from_ndarray(picture, "rgb24") for picture in pictures]))
        for n, pitch in enumerate(sounds):
            audio: Any = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
            audio.disposition = Disposition.default if n == defaults[1] else Disposition(0)
            wave = 0.5 * np.sin(2 * np.pi * pitch * np.arange(16_000) / 16_000)
            frame = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            streams.append((audio, [frame]))
        for stream, frames in streams:
            for n, frame in enumerate(frames):
                frame.pts = n if stream.type == "video" else frame.pts
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_tracks_are_taken(tmp_path: Path, number: Number, default: int) -> None:
    show, read = number
    path = tmp_path / "a.mkv"
    write_tracks(path, [[show(7)] * 25, [show(n) for n in range(25)]], [500.0, 1000.0], (default, default))
    info = probe_media(path)
    assert info.num_frames == 25
    assert [read(frame) for frame in decode_frames(path, [0.0, 0.4])] == ([7, 7] if default == 0 else [0, 10])
    sound = decode_audio(path, 0.0, 1.0)
    assert sound is not None
    assert int(np.abs(np.fft.rfft(sound[0])).argmax()) == (500, 1000)[default]


def test_matroska_that_begins_at_an_hour_is_whole(write_video: WriteVideo, number: Number) -> None:
    show, read = number
    path = write_video("a.mkv", [show(n) for n in range(50)], stamps=[3600 + n / 25 for n in range(50)])
    assert probe_media(path).num_frames == 50
    assert read(next(decode_frames(path, [1.96]))) == 49


def test_frames_before_the_first_stamp_keep_their_times(write_video: WriteVideo, number: Number) -> None:
    """ffmpeg gives frames at negative times in Matroska no time at all: they lie before the first that has one."""
    show, read = number
    stamps = [-0.4 + n / 25 for n in range(50)]
    sound = np.zeros((2, 96_000), dtype=np.float32)
    sound[:, 48_000:48_480] = 0.8  # at 1.0 s of the pictures
    options = {"avoid_negative_ts": "disabled"}
    more: dict[str, Any] = {"sound": sound, "sound_start": -0.4, "sound_codec": "pcm_s16le", "options": options}
    path = write_video("a.mkv", [show(n) for n in range(50)], stamps=stamps, **more)
    assert [read(frame) for frame in decode_frames(path, [n / 25 for n in range(50)])] == list(range(50))
    heard = decode_audio(path, 0.0, 2.0)
    assert heard is not None
    assert int(np.argmax(np.abs(heard[0]) > 0.2)) == pytest.approx(16_000, abs=100)


def test_subtitles_may_end_after_the_pictures(tmp_path: Path, write_video: WriteVideo, number: Number) -> None:
    """The duration in the header is that of the longest track."""
    show, _ = number
    path = tmp_path / "a.mkv"
    with (
        av.open(str(write_video("plain.mkv", [show(n) for n in range(50)]))) as source,
        av.open(str(path), "w") as container,
    ):
        video = container.add_stream_from_template(source.streams.video[0])
        titles: Any = container.add_stream("subrip")
        titles.codec_context.subtitle_header = b"[Script Info]\n"
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets:
            packet.stream = video
            container.mux(packet)
        line = av.Packet(b"late")
        line.stream, line.time_base, line.pts, line.dts, line.duration = titles, Fraction(1, 1000), 9000, 9000, 2000
        container.mux(line)
    with av.open(str(path)) as container:
        assert container.duration == 11_000_000
    assert probe_media(path).num_frames == 50


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_matroska_says_how_long_it_is(write_video: WriteVideo, share: float) -> None:
    """Whatever its durations say: the segment's own length, which live recordings leave open."""
    source = np.random.default_rng(1)
    pictures = [source.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    path = write_video("a.mkv", pictures, stamps=[5000 + n / 25 for n in range(40)])
    assert probe_media(path).num_frames == 40
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MediaError) as caught:
        probe_media(path)
    assert caught.value.reason is QuarantineReason.TRUNCATED
    assert str(len(data)) in str(caught.value)
