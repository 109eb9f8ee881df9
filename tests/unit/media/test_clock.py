"""Recordings that were joined or interrupted, and containers without an index."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from datasets_spec import QuarantineReason
from ltx_core.media.audio import decode_audio
from ltx_core.media.container import open_media, video_stream
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames
from ltx_core.media.packets import listed_packets
from ltx_core.media.probe import probe_media

pytestmark = pytest.mark.whole

Pixels = npt.NDArray[np.uint8]
Number = tuple[Callable[[int], Pixels], Callable[[Pixels], int]]
WriteVideo = Callable[..., Path]


def clicks(seconds: float, first: int = 0, rate: int = 48_000) -> npt.NDArray[np.float32]:
    """A tone of 20 ms every half second, the k-th of all at 300 + 100 k Hz; `first` is the number of the first."""
    time = np.arange(round(seconds * rate)) / rate
    number = np.floor(time / 0.5)
    inside = time - number * 0.5 < 0.02
    tone = 0.5 * np.sin(2 * np.pi * (300 + 100 * (number + first)) * time) * inside
    return np.tile(tone.astype(np.float32), (2, 1))


def heard(path: Path, start: float, seconds: float) -> list[tuple[int, float]]:
    """(number, seconds from `start`) of the clicks that begin in a span; near to 20 ms."""
    sound = decode_audio(path, start, seconds)
    assert sound is not None
    found, last = [], -1.0
    for at in np.flatnonzero(np.abs(sound[0]) > 0.1):
        if at / 16_000 - last > 0.2:
            last = at / 16_000
            piece = sound[0, at : at + 256]
            spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 4096))
            found.append((round((float(spectrum.argmax()) * 16_000 / 4096 - 300) / 100), round(last, 3)))
    return found


def join(tmp_path: Path, name: str, one: Path, two: Path) -> Path:
    """Both recordings in one file; of Flash, the second without its header, as servers append."""
    path = tmp_path / name
    path.write_bytes(one.read_bytes() + two.read_bytes()[13 if name.endswith("flv") else 0 :])
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "begin"),
    [
        ("ts", "libx264", 0.0),  # starts again
        ("ts", "libx264", 3600.0),  # jumps ahead
        ("ts", "libx264", 1.92),  # overlaps by two frames
        ("mpg", "mpeg2video", 0.0),
        ("flv", "libx264", 0.0),
        ("flv", "libx264", 3600.0),
    ],
)
def test_a_clock_that_jumps_is_continued(
    write_video: WriteVideo, number: Number, tmp_path: Path, suffix: str, codec: str, begin: float
) -> None:
    show, read = number
    audio = {"sound_codec": "mp2" if suffix == "mpg" else "aac", "layout": "stereo"}
    one = write_video(f"1.{suffix}", [show(n) for n in range(50)], codec=codec, sound=clicks(2), **audio)
    stamps = [begin + n / 25 for n in range(50)]
    pictures = [show(n) for n in range(50, 100)]
    more = audio | {"sound_start": begin, "codec": codec, "sound": clicks(2, first=4)}
    two = write_video(f"2.{suffix}", pictures, stamps=stamps if codec == "libx264" else None, **more)
    path = join(tmp_path, f"joined.{suffix}", one, two)
    info = probe_media(path)
    assert info.num_frames == 100
    assert info.duration_seconds == pytest.approx(4, abs=0.01)
    times = [(n + 0.5) / 25 for n in range(100)]
    assert [read(frame) for frame in decode_frames(path, times)] == list(range(100))
    assert [read(frame) for frame in decode_frames(path, times[90:])] == list(range(90, 100))
    found = heard(path, 0.0, 4.0)
    assert [number for number, _ in found] == list(range(8))
    assert [at for _, at in found] == pytest.approx([n * 0.5 for n in range(8)], abs=0.03)
    assert [number for number, _ in heard(path, 2.3, 1.0)] == [5, 6]


def test_a_pause_stays_one(write_video: WriteVideo, number: Number) -> None:
    """Pictures stop for 12 s and the sound goes on: nobody's clock has jumped."""
    show, read = number
    stamps = [n / 25 for n in range(25)] + [13 + n / 25 for n in range(25)]
    path = write_video("a.ts", [show(n) for n in range(50)], stamps=stamps, sound=clicks(14))
    assert probe_media(path).duration_seconds == pytest.approx(14, abs=0.01)
    assert [read(f) for f in decode_frames(path, [0.9, 5.0, 12.9, 13.02])] == [22, 24, 24, 25]
    assert [number for number, _ in heard(path, 10.9, 1.0)] == [22, 23]


def test_one_clock_for_the_whole_file_is_believed(write_video: WriteVideo, number: Number) -> None:
    show, read = number
    stamps = [n / 25 for n in range(10)] + [3600 + n / 25 for n in range(10)]
    for suffix in ("mkv", "mp4"):
        path = write_video(f"a.{suffix}", [show(n) for n in range(20)], stamps=stamps)
        assert probe_media(path).duration_seconds == pytest.approx(3600.4, abs=0.01)
        assert [read(f) for f in decode_frames(path, [3599.0, 3600.1])] == [9, 12]


def test_a_recording_that_begins_amid_pictures(write_video: WriteVideo, number: Number, tmp_path: Path) -> None:
    """Of the first 60 frames only those from the next key picture on can be shown; sound keeps to them."""
    show, read = number
    whole = write_video("whole.ts", [show(n) for n in range(150)], sound=clicks(6))
    with open_media(whole) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    key = next(n for n, packet in enumerate(packets) if packet.is_keyframe and n > 10)
    cut = packets[key - 5].pos
    path = tmp_path / "cut.ts"
    path.write_bytes(whole.read_bytes()[:564] + whole.read_bytes()[cut:])
    info = probe_media(path)
    assert info.num_frames == 150 - key
    assert [read(f) for f in decode_frames(path, [0.02, 1.0, 2.0])] == [key, key + 25, key + 50]
    first = -(-key // 12.5)
    begin = first / 2 - key / 25
    assert heard(path, 0.0, 2.0) == [(first + n, pytest.approx(begin + n / 2, abs=0.03)) for n in range(4)]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *(pytest.param(*case, marks=pytest.mark.extra) for case in (("mpg", "mpeg2video"), ("flv", "libx264"))),
        ("ts", "libx264"),
    ],
)
def test_a_late_clip_costs_no_more_than_an_early_one(
    write_video: WriteVideo, number: Number, suffix: str, codec: str
) -> None:
    show, read = number
    sound_codec = "mp2" if suffix == "mpg" else "aac"
    path = write_video(
        f"a.{suffix}", [show(n // 4) for n in range(1000)], codec=codec, sound=clicks(40), sound_codec=sound_codec
    )
    assert [read(f) for f in decode_frames(path, [38.02, 38.5])] == [237, 240]
    assert [number for number, _ in heard(path, 37.9, 1.0)] == [76, 77]
    with open_media(path) as container:
        video = listed_packets(container, video_stream(container, path), path, 38.5)
        assert sum(1 for packet in video if packet.size) < 120
    with open_media(path) as container:
        audio = listed_packets(container, container.streams.audio[0], path, 38.5)
        assert sum(packet.duration * packet.time_base for packet in audio if packet.size) < 3


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "flv"])
def test_recordings_that_cannot_be_joined_so(write_video: WriteVideo, number: Number, suffix: str) -> None:
    """ffmpeg would show the first alone, or lay the sound of the second under it."""
    show, _ = number
    source = np.random.default_rng(1)
    pictures = [np.maximum(show(n), source.integers(0, 60, (48, 64, 3), dtype=np.uint8)) for n in range(60)]
    one = write_video(f"1.{suffix}", pictures, sound=clicks(2.4))
    assert probe_media(one).num_frames == 60
    path = one.with_name(f"twice.{suffix}")
    path.write_bytes(2 * one.read_bytes())
    with pytest.raises(MediaError, match="several recordings") as caught:
        probe_media(path)
    assert caught.value.reason is QuarantineReason.DECODE_ERROR


def test_a_microphone_that_is_switched_on_later(write_video: WriteVideo, number: Number, tmp_path: Path) -> None:
    """A live stream's header speaks of pictures alone, and ffmpeg looks no further than some seconds."""
    show, _ = number
    whole = write_video("a.flv", [show(n) for n in range(100)], rate=5, sound=clicks(20))
    data = whole.read_bytes()
    kept, at = bytearray(data[:13]), 13
    kept[4] = 1
    while at + 11 < len(data):
        size, stamp = int.from_bytes(data[at + 1 : at + 4], "big"), int.from_bytes(data[at + 4 : at + 7], "big")
        is_sound = data[at] == 8 and data[at + 12] == 1  # AACPacketType: 0 is the decoder's configuration
        if not is_sound or stamp >= 15_000:
            kept += data[at : at + 15 + size]
        at += 15 + size
    path = tmp_path / "later.flv"
    path.write_bytes(kept)
    assert probe_media(path).num_frames == 100
    assert heard(path, 12.1, 2.0) == []
    assert [number for number, _ in heard(path, 15.3, 2.0)] == [31, 32, 33, 34]


def test_the_file_is_replaced_while_it_is_read(write_video: WriteVideo, number: Number) -> None:
    show, _ = number
    path = write_video("a.ts", [show(n) for n in range(100)])
    with open_media(path) as container:
        stream = video_stream(container, path)
        packets = listed_packets(container, stream, path)
        next(packets)
        path.write_bytes(write_video("b.ts", [show(99 - n) for n in range(100)]).read_bytes())
        with pytest.raises(MediaError) as caught:
            for _ in packets:
                pass
    assert caught.value.reason is QuarantineReason.DECODE_ERROR
