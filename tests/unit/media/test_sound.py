from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from datasets_spec import QuarantineReason
from ltx_core.media.audio import decode_audio, has_audio, stereo_matrix, to_channels
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames

Pixels = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.float32]
WriteVideo = Callable[..., Path]
Plain = Callable[..., Pixels]


def beep(seconds: float, at: float, *, rate: int = 48_000, channels: int = 2, pitch: float = 1000) -> Sound:
    """Silence with 80 ms of a tone that begins at `at`."""
    time = np.arange(round(seconds * rate)) / rate
    inside = (time >= at) & (time < at + 0.08)
    return np.tile((0.5 * np.sin(2 * np.pi * pitch * time) * inside).astype(np.float32), (channels, 1))


def onset(sound: Sound, rate: int = 16_000) -> float:
    return float(np.argmax(np.abs(sound[0]) > 0.15)) / rate


def tone_level(sound: Sound, pitch: float, rate: int = 16_000) -> list[float]:
    """Amplitude of a sine of `pitch` Hz in each channel."""
    time = np.arange(sound.shape[1]) / rate
    return [float(2 * np.abs(np.mean(channel * np.exp(-2j * np.pi * pitch * time)))) for channel in sound]


@pytest.mark.parametrize("late", [0.0, 0.6])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts"])
def test_flash_and_beep_coincide(write_video: WriteVideo, plain: Plain, name: str, late: float) -> None:
    pictures = [plain(235 if 25 <= n < 30 else 20) for n in range(50)]
    sound = beep(2.0 - late, 1.0 - late)
    path = write_video(name, pictures, sound=sound, sound_start=late)
    frames = list(decode_frames(path, [n / 25 for n in range(50)]))
    flash = next(n for n, frame in enumerate(frames) if frame.mean() > 128) / 25
    heard = decode_audio(path, 0.0, 2.0)
    assert heard is not None
    assert flash == 1.0
    assert abs(onset(heard) - flash) < 1 / 50
    part = decode_audio(path, 0.9, 0.5)
    assert part is not None
    assert abs(onset(part) - 0.1) < 1 / 50


def test_sound_before_the_first_frame_is_cut(write_video: WriteVideo, plain: Plain) -> None:
    path = write_video("early.mkv", [plain(20)] * 25, stamps=[0.5 + n / 25 for n in range(25)], sound=beep(1.5, 0.9))
    heard = decode_audio(path, 0.0, 1.0)
    assert heard is not None
    assert abs(onset(heard) - 0.4) < 1 / 50


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_seeking_keeps_the_clock(write_video: WriteVideo, plain: Plain, codec: str) -> None:
    path = write_video("long.mov", [plain(20)] * 200, rate=10, sound=beep(20, 14.25), sound_codec=codec)
    heard = decode_audio(path, 14.0, 1.0)
    assert heard is not None
    assert abs(onset(heard) - 0.25) < 0.002


def test_spans_join_up(write_video: WriteVideo, plain: Plain) -> None:
    time = np.arange(96_000) / 48_000
    sound = np.tile((0.4 * np.sin(2 * np.pi * 300 * time)).astype(np.float32), (2, 1))
    path = write_video("a.mov", [plain(20)] * 50, sound=sound, sound_codec="pcm_s16le")
    whole, first, second = (decode_audio(path, *span) for span in ((0.0, 1.6), (0.0, 0.8), (0.8, 0.8)))
    assert whole is not None
    assert first is not None
    assert second is not None
    joined = np.concatenate([first, second], axis=1)
    assert np.abs(joined - whole)[:, 200:-200].max() < 0.01


def test_length_is_exact_and_missing_sound_is_silence(write_video: WriteVideo, plain: Plain) -> None:
    path = write_video("a.mp4", [plain(20)] * 50, sound=beep(0.5, 0.1))
    for seconds in (121 / 24, 0.3333, 9 / 25):
        heard = decode_audio(path, 0.0, seconds)
        assert heard is not None
        assert heard.shape == (2, round(seconds * 16_000))
        assert heard.dtype == np.float32
    tail = decode_audio(path, 1.0, 0.5)
    assert tail is not None
    assert not tail.any()


def test_no_stream_is_none(write_video: WriteVideo, plain: Plain) -> None:
    assert decode_audio(write_video("mute.mp4", [plain(20)] * 5), 0.0, 0.2) is None


@pytest.mark.parametrize(("rate", "pitch"), [(48_000, 440), (44_100, 1000), (22_050, 700)])
def test_resampling_keeps_pitch_and_level(write_video: WriteVideo, plain: Plain, rate: int, pitch: float) -> None:
    time = np.arange(rate) / rate
    sound = np.tile((0.5 * np.sin(2 * np.pi * pitch * time)).astype(np.float32), (2, 1))
    path = write_video("a.mov", [plain(20)] * 25, sound=sound, sound_rate=rate, sound_codec="pcm_s16le")
    heard = decode_audio(path, 0.2, 0.5)
    assert heard is not None
    assert tone_level(heard, pitch) == pytest.approx([0.5, 0.5], abs=0.02)
    end = decode_audio(path, 0.9, 0.1)
    assert end is not None
    assert np.abs(end[:, -8:]).max() > 0.1


def test_surround_is_mixed_by_the_standard_weights(write_video: WriteVideo, plain: Plain) -> None:
    """Each channel of 5.1 carries its own pitch; both sides come out with its weight over 1 + 2 * 0.7071."""
    time = np.arange(48_000) / 48_000
    pitches = {"FL": 400, "FR": 600, "FC": 800, "LFE": 60, "BL": 1000, "BR": 1200}
    sound = np.stack([0.5 * np.sin(2 * np.pi * p * time) for p in pitches.values()]).astype(np.float32)
    path = write_video("a.mov", [plain(20)] * 25, sound=sound, sound_codec="pcm_s16le", layout="5.1")
    heard = decode_audio(path, 0.2, 0.5)
    assert heard is not None
    side, half = 0.5 / 2.41421, 0.5 * 0.70711 / 2.41421
    wanted = {"FL": (side, 0), "FR": (0, side), "FC": (half, half), "LFE": (0, 0), "BL": (half, 0), "BR": (0, half)}
    for name, pitch in pitches.items():
        assert tone_level(heard, pitch) == pytest.approx(wanted[name], abs=0.01), name


def test_mono_is_in_both_channels_at_its_level(write_video: WriteVideo, plain: Plain) -> None:
    time = np.arange(48_000) / 48_000
    sound = (0.5 * np.sin(2 * np.pi * 500 * time)).astype(np.float32)[None]
    path = write_video("a.mp4", [plain(20)] * 25, sound=sound, layout="mono")
    heard = decode_audio(path, 0.2, 0.5)
    assert heard is not None
    assert np.array_equal(heard[0], heard[1])
    assert tone_level(heard, 500) == pytest.approx([0.5, 0.5], abs=0.03)


def test_no_layout_can_clip() -> None:
    for names in (["FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"], ["FL", "FR", "FC", "BC"], ["FC"], ["FL", "FR"]):
        assert np.abs(stereo_matrix(names)).sum(axis=1).max() == pytest.approx(1)
    assert stereo_matrix(["FL", "FR"]).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(ValueError, match="AMBI0"):
        stereo_matrix(["AMBI0", "AMBI1", "AMBI2", "AMBI3"])


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.m4a", "aac"), ("a.mp3", "mp3")]
)
def test_files_of_sound_alone(tmp_path: Path, name: str, codec: str) -> None:
    """Zero is the container's own, and a start is counted from there."""
    import av

    path, rate = tmp_path / name, 48_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(beep(2, 0.5), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(
            format=stream.format, layout="stereo", rate=rate, frame_size=stream.frame_size or None
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    assert has_audio(path)
    for start in (0.0, 0.25):
        sound = decode_audio(path, start, 1.0)
        assert sound is not None
        assert sound.shape == (2, 16_000)
        assert onset(sound) == pytest.approx(0.5 - start, abs=0.03 if codec == "mp3" else 0.01)


def test_whether_there_is_sound(write_video: WriteVideo, plain: Plain, tmp_path: Path) -> None:
    assert has_audio(write_video("a.mp4", [plain(20)] * 9, sound=beep(1, 0.5)))
    assert not has_audio(write_video("b.mp4", [plain(20)] * 9))
    with pytest.raises(MediaError, match="cannot be read"):
        has_audio(tmp_path / "absent.wav")


def test_channels() -> None:
    sound = np.array([[1.0, 0.5], [0.0, 0.5]], dtype=np.float32)
    assert to_channels(sound, 2) is sound
    assert to_channels(sound, 1).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(ValueError, match="channels is 3"):
        to_channels(sound, 3)


def test_broken_sound_is_recognised(write_video: WriteVideo, plain: Plain) -> None:
    path = break_sound(write_video("a.mp4", [plain(20)] * 50, sound=beep(2, 0.5)))
    with pytest.raises(MediaError, match="audio") as caught:
        decode_audio(path, 0.0, 1.0)
    assert caught.value.reason is QuarantineReason.DECODE_ERROR
    assert len(list(decode_frames(path, [0.0, 1.0]))) == 2


def break_sound(path: Path) -> Path:
    """Overwrite the audio packets of a file in place."""
    import av

    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(0)
    for position, size in spans:
        data[position : position + size] = noise.bytes(size)
    path.write_bytes(data)
    return path
