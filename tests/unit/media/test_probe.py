import os
import pickle
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from datasets_spec import QuarantineReason
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames
from ltx_core.media.probe import probe_media

Pixels = npt.NDArray[np.uint8]
Number = tuple[Callable[[int], Pixels], Callable[[Pixels], int]]
Plain = Callable[..., Pixels]
WriteVideo = Callable[..., Path]


def reason_of(path: Path) -> QuarantineReason:
    with pytest.raises(MediaError) as caught:
        probe_media(path)
    assert str(path) in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
@pytest.mark.parametrize("rate", [60.0, 30000 / 1001, 24000 / 1001])
def test_constant_rate(write_video: WriteVideo, number: Number, suffix: str, rate: float) -> None:
    show, _ = number
    info = probe_media(write_video(f"a.{suffix}", [show(n) for n in range(40)], rate=rate))
    assert info.num_frames == 40
    assert info.duration_seconds == pytest.approx(40 / rate, abs=2e-3)
    assert info.frame_rate == pytest.approx(rate, rel=2e-3)
    assert not info.is_variable_rate
    assert (info.video_codec, info.width, info.height, info.rotation) == ("h264", 64, 48, 0)
    assert (info.audio_codec, info.audio_channels, info.audio_rate) == (None, 0, 0)


def test_variable_rate(write_video: WriteVideo, number: Number) -> None:
    show, _ = number
    stamps = [0.0, 0.04, 0.30, 0.31, 0.32, 0.70, 1.00]
    info = probe_media(write_video("a.mkv", [show(n) for n in range(7)], stamps=stamps))
    assert info.is_variable_rate
    assert info.num_frames == 7
    assert info.duration_seconds >= 1.0


def test_sound(write_video: WriteVideo, plain: Plain) -> None:
    sound = np.zeros((6, 44_100), dtype=np.float32)
    path = write_video("a.mp4", [plain(50)] * 25, sound=sound, sound_rate=44_100, layout="5.1")
    info = probe_media(path)
    assert (info.audio_codec, info.audio_channels, info.audio_rate) == ("aac", 6, 44_100)
    assert "mp4" in info.container


@pytest.mark.parametrize(("degrees", "clockwise"), [(90, 270), (-90, 90), (180, 180)])
def test_rotated_phone(write_video: WriteVideo, plain: Plain, degrees: int, clockwise: int) -> None:
    info = probe_media(write_video("a.mov", [plain(50)] * 3, rotation=degrees))
    assert info.rotation == clockwise
    assert (info.width, info.height) == ((48, 64) if degrees % 180 else (64, 48))


def test_pixel_aspect(write_video: WriteVideo, plain: Plain) -> None:
    info = probe_media(write_video("a.mp4", [plain(50)] * 3, aspect=Fraction(3, 2), rotation=90))
    assert (info.width, info.height) == (48, 96)


def test_packets_without_stamps_are_decoded(write_video: WriteVideo, number: Number) -> None:
    show, _ = number
    info = probe_media(write_video("a.avi", [show(n) for n in range(30)], codec="mpeg4"))
    assert info.num_frames == 30
    assert info.duration_seconds == pytest.approx(1.2)


def test_vp8_hidden_frames_are_not_counted(write_video: WriteVideo, number: Number) -> None:
    """Bit 4 of a VP8 frame's first byte says whether it is shown (RFC 6386, 9.1); clear it in one of 30."""
    show, _ = number
    path = write_video("a.webm", [show(n) for n in range(30)], codec="libvpx")
    assert probe_media(path).num_frames == 30
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    data[data.index(packets[12])] &= 0xEF
    path.write_bytes(data)
    assert probe_media(path).num_frames == 29


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.touch()
    assert reason_of(path) is QuarantineReason.EMPTY_FILE


def test_unreadable(tmp_path: Path) -> None:
    link = tmp_path / "gone.mp4"
    link.symlink_to(tmp_path / "nowhere.mp4")
    assert reason_of(link) is QuarantineReason.UNREADABLE
    if os.geteuid() != 0:
        closed = tmp_path / "closed.mp4"
        closed.write_bytes(b"1234567890")
        closed.chmod(0)
        assert reason_of(closed) is QuarantineReason.UNREADABLE


@pytest.mark.parametrize(
    "content",
    [
        b"These are words, not a film.\n" * 40,
        np.random.default_rng(0).bytes(5000),
        bytes(5000),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\nhttp://example.invalid/a.ts\n#EXT-X-ENDLIST\n",
        b"1\n00:00:00,000 --> 00:00:02,000\nA subtitle\n\n",
    ],
    ids=["text", "garbage", "zeros", "playlist", "subtitles"],
)
def test_not_media(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    assert reason_of(path) is QuarantineReason.NOT_MEDIA


def test_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 4096), np.float32), "fltp", "stereo")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert reason_of(path) is QuarantineReason.NO_VIDEO


def noise(count: int) -> list[Pixels]:
    """Pictures that compress badly, so that files are large enough to be cut anywhere."""
    source = np.random.default_rng(1)
    return [source.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.whole
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["a.mp4", "fast.mp4", "a.mkv", "a.avi"])
def test_cut_off(write_video: WriteVideo, name: str, share: float) -> None:
    options = {"movflags": "+faststart"} if name == "fast.mp4" else {}
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = write_video(name, noise(75), codec=codec, options=options)
    assert probe_media(path).num_frames == 75
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert reason_of(path) is QuarantineReason.TRUNCATED


def test_last_bytes_missing(write_video: WriteVideo) -> None:
    """Too little for the duration to tell: only the box that holds the data says that it was longer."""
    path = write_video("a.mp4", noise(75), options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[:-200])
    assert reason_of(path) is QuarantineReason.TRUNCATED


@pytest.mark.parametrize("name", ["a.mkv", "a.flv", "a.mp4"])
def test_only_the_beginning_came(write_video: WriteVideo, name: str) -> None:
    path = write_video(name, noise(5), codec="flv" if name.endswith("flv") else "libx264")
    path.write_bytes(path.read_bytes()[:16])
    assert reason_of(path) is QuarantineReason.TRUNCATED


def test_index_that_is_missing(write_video: WriteVideo, plain: Plain) -> None:
    path = write_video("a.mp4", [plain(50)] * 25)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])
    assert reason_of(path) is QuarantineReason.TRUNCATED


def test_damaged_first_frame(write_video: WriteVideo) -> None:
    path = write_video("a.mp4", noise(25))
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
    data = bytearray(path.read_bytes())
    data[first.pos : first.pos + first.size] = bytes([255]) * first.size
    path.write_bytes(data)
    assert reason_of(path) is QuarantineReason.DECODE_ERROR


def test_sound_longer_than_the_pictures_is_whole(write_video: WriteVideo, plain: Plain) -> None:
    sound = np.zeros((2, 144_000), dtype=np.float32)
    for suffix in ("mp4", "mkv"):
        assert probe_media(write_video(f"a.{suffix}", [plain(50)] * 25, sound=sound)).num_frames == 25


def test_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(MediaError(QuarantineReason.NO_VIDEO, "a message")))
    assert (error.reason, str(error)) == (QuarantineReason.NO_VIDEO, "a message")


@pytest.mark.parametrize("skipped", [0, 10])
def test_frames_outside_the_edit_list_are_not_there(write_video: WriteVideo, number: Number, skipped: int) -> None:
    """A phone's trim keeps all frames and shortens the edit list: segment duration (ms) and media time."""
    show, read = number
    path = write_video("trimmed.mp4", [show(n) for n in range(50)])
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    duration, media_time = struct.unpack(">Ii", data[at : at + 8])
    with av.open(str(path)) as container:
        shift = int(skipped / 25 / container.streams.video[0].time_base)
    data[at : at + 8] = struct.pack(">Ii", duration // 2, media_time + shift)
    path.write_bytes(data)
    info = probe_media(path)
    assert info.num_frames == 25
    assert info.duration_seconds == pytest.approx(1)
    assert [read(frame) for frame in decode_frames(path, [0.0, 0.4, 0.96])] == [skipped + n for n in (0, 10, 24)]
