from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from datasets_spec import Clip, DatasetSpec, Media, QuarantineReason
from ltx_core.media.clip import clip_audio, clip_frames, clip_seconds
from ltx_core.media.quality import QualityThresholds
from ltx_core.media.split import split_media

Pixels = npt.NDArray[np.uint8]
Number = tuple[Callable[[int], Pixels], Callable[[Pixels], int]]
Plain = Callable[..., Pixels]
WriteVideo = Callable[..., Path]
MediaOf = Callable[[Path], Media]
Spec = Callable[..., DatasetSpec]
DEFAULTS = QualityThresholds()


def moving(count: int, *, seed: int) -> list[Pixels]:
    """A scene: a smooth picture of its own, with a bright square that moves across it."""
    source = np.random.default_rng(seed)
    coarse = source.integers(0, 200, (3, 4), dtype=np.uint8)
    background = np.kron(coarse, np.ones((16, 16), dtype=np.uint8))
    pictures = []
    for n in range(count):
        picture = background.copy()
        picture[8:20, (2 * n) % 52 : (2 * n) % 52 + 12] = 250
        pictures.append(np.repeat(picture[..., None], 3, axis=2))
    return pictures


def split(media: Media, spec: DatasetSpec) -> tuple[list[Clip], dict[str, QuarantineReason]]:
    clips, aside = split_media(media, spec, DEFAULTS)
    return clips, {row.item: row.reason for row in aside}


def test_clips_do_not_cross_a_cut(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    path = write_video("a.mp4", moving(23, seed=1) + moving(30, seed=2))
    clips, aside = split(media_of(path), spec(video={"num_frames": 9}))
    assert not aside
    assert [round(clip.start_seconds * 25) for clip in clips] == [0, 9, 23, 32, 41]
    assert all(clip.bucket == f"{clip.width}x{clip.height}@9" for clip in clips)
    assert len({clip.clip_key for clip in clips}) == 5
    assert clips[2].clip_id == "set/a.mp4@000000920"


def test_a_cut_is_found_whatever_the_rates(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    path = write_video("a.mkv", moving(60, seed=1) + moving(60, seed=2), rate=60)
    clips, _ = split(media_of(path), spec(video={"num_frames": 17, "frame_rate": 24}))
    assert [round(clip.start_seconds * 24) for clip in clips] == [0, 24]


def test_a_flash_is_not_a_cut(write_video: WriteVideo, media_of: MediaOf, spec: Spec, plain: Plain) -> None:
    pictures = moving(50, seed=1)
    pictures[20] = plain(255)
    clips, _ = split(media_of(write_video("a.mp4", pictures)), spec(video={"num_frames": 49}))
    assert len(clips) == 1


def test_shaking_is_not_a_cut(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    source = np.random.default_rng(0)
    wide = np.kron(source.integers(0, 255, (6, 8), dtype=np.uint8), np.ones((16, 16), dtype=np.uint8))
    corners = source.integers(0, 40, (50, 2))
    pictures = [np.repeat(wide[y : y + 48, x : x + 64, None], 3, axis=2) for y, x in corners]
    clips, _ = split(media_of(write_video("a.mp4", pictures)), spec(video={"num_frames": 49}))
    assert len(clips) == 1


def test_frames_are_floored_and_real_time(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    path = write_video("a.mp4", moving(60, seed=1), rate=30)
    clips, _ = split(media_of(path), spec(video={"num_frames": 50, "frame_rate": 25}))
    assert [(clip.num_frames, clip.start_seconds) for clip in clips] == [(49, 0.0)]
    clips, aside = split(media_of(path), spec(video={"num_frames": 57, "frame_rate": 25}))
    assert not clips
    assert aside == {"set/a.mp4": QuarantineReason.TOO_SHORT}


def test_own_lengths(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    path = write_video("a.mp4", moving(40, seed=1) + moving(20, seed=2))
    video = {"num_frames": 33, "min_frames": 9, "bucket_strategy": "resolution_frames"}
    clips, _ = split(media_of(path), spec(video=video))
    assert [(round(c.start_seconds * 25), c.num_frames) for c in clips] == [(0, 33), (40, 17)]
    assert [clip.bucket for clip in clips] == ["64x64@33", "64x64@17"]


def test_whole_file_faults(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    media = media_of(write_video("a.mp4", moving(50, seed=1)))
    faults: dict[QuarantineReason, dict[str, Any]] = {
        QuarantineReason.TOO_LONG: {"video": {"num_frames": 9, "max_frames": 49}},
        QuarantineReason.TOO_SHORT: {"video": {"num_frames": 121}},
        QuarantineReason.TOO_SMALL: {"video": {"num_frames": 9}, "resolution": 256},
    }
    for reason, more in faults.items():
        assert split(media, spec(**more)) == ([], {"set/a.mp4": reason})
    _, (row,) = split_media(media, spec(video={"num_frames": 121}), DEFAULTS)
    assert "50 frames" in row.detail
    assert "121" in row.detail


def test_no_scene_long_enough(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    media = media_of(write_video("a.mp4", moving(20, seed=1) + moving(20, seed=2)))
    clips, (row,) = split_media(media, spec(video={"num_frames": 25}), DEFAULTS)
    assert not clips
    assert row.reason is QuarantineReason.TOO_SHORT
    assert "2 scenes" in row.detail
    assert "longest of 20" in row.detail


def test_black_and_frozen_go(write_video: WriteVideo, media_of: MediaOf, spec: Spec, plain: Plain) -> None:
    still = moving(1, seed=3) * 27
    pictures = moving(27, seed=1) + [plain(0)] * 27 + still
    clips, aside = split(media_of(write_video("a.mp4", pictures)), spec(video={"num_frames": 25}))
    assert [clip.clip_id for clip in clips] == ["set/a.mp4@000000000"]
    assert aside == {
        "set/a.mp4@000001080": QuarantineReason.BLACK,
        "set/a.mp4@000002160": QuarantineReason.FROZEN,
    }
    assert clips[0].frozen_fraction == 0
    assert clips[0].motion > 0.005


def test_a_long_still_picture_is_one_row(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    """A screen recording over a pause of five minutes: 7500 frames, of which one is looked at."""
    stamps = [n / 25 for n in range(25)] + [300 + n / 25 for n in range(27)]
    path = write_video("a.mkv", moving(25, seed=1) + moving(27, seed=2), stamps=stamps)
    clips, aside = split_media(media_of(path), spec(video={"num_frames": 25}), DEFAULTS)
    assert [round(clip.start_seconds) for clip in clips] == [0, 300]
    (row,) = aside
    assert row.reason is QuarantineReason.FROZEN
    assert "from 1.00 s to 300.00 s" in row.detail


def test_a_change_of_size_is_a_cut(
    write_video: WriteVideo, media_of: MediaOf, spec: Spec, number: Number, tmp_path: Path
) -> None:
    """Of joined recordings of other shapes each keeps its own, and no picture is squeezed."""
    show, read = number
    wide = write_video("1.ts", [show(n) for n in range(30)])
    tall = write_video("2.ts", [np.pad(show(n), ((24, 24), (0, 0), (0, 0))) for n in range(30, 60)])
    path = tmp_path / "joined.ts"
    path.write_bytes(wide.read_bytes() + tall.read_bytes())
    clips, aside = split(media_of(path), spec(resolution=128, video={"num_frames": 25}))
    assert not aside
    assert [(round(clip.start_seconds * 25), clip.bucket) for clip in clips] == [(0, "160x96@25"), (30, "96x160@25")]
    assert [read(frame) for frame in clip_frames(clips[1])[:3]] == [30, 31, 32]


def test_damage_in_the_middle(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    source = np.random.default_rng(1)
    path = write_video("a.mp4", [source.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(50)])
    media = media_of(path)
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size][20:24]
    data = bytearray(path.read_bytes())
    for position, size in spans:
        data[position : position + size] = bytes([255]) * size
    path.write_bytes(data)
    assert split(media, spec(video={"num_frames": 9})) == ([], {"set/a.mp4": QuarantineReason.DECODE_ERROR})


def voice(seconds: float) -> npt.NDArray[np.float32]:
    """A buzz whose pitch glides between 100 and 180 Hz, in syllables with pauses."""
    time = np.arange(round(seconds * 48_000)) / 48_000
    pitch = 140 + 40 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 48_000
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    syllables = (np.sin(2 * np.pi * 3 * time) > -0.2) * np.clip(1.2 * np.sin(2 * np.pi * 0.5 * time) ** 2, 0, 1)
    return np.tile((0.15 * buzz * syllables).astype(np.float32), (2, 1))


def tone(seconds: float, level: float) -> npt.NDArray[np.float32]:
    time = np.arange(round(seconds * 48_000)) / 48_000
    return np.tile((level * np.sin(2 * np.pi * 220 * time)).astype(np.float32), (2, 1))


def beeps(seconds: float) -> npt.NDArray[np.float32]:
    time = np.arange(round(seconds * 48_000)) / 48_000
    return tone(seconds, 0.3) * (np.sin(2 * np.pi * 3 * time) > 0.3).astype(np.float32)


def hiss(seconds: float) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, (2, round(seconds * 48_000))).astype(np.float32)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("sound", "kind"),
    [
        (voice(2), "voiced"),
        (tone(2, 0.3), "other"),
        (hiss(2), "other"),
        (beeps(2), "other"),
        (tone(2, 3e-4), "silent"),
        (None, "none"),
    ],
    ids=["voice", "tone", "hiss", "beeps", "hum", "mute"],
)
def test_kind_of_sound(
    write_video: WriteVideo, media_of: MediaOf, spec: Spec, sound: npt.NDArray[np.float32] | None, kind: str
) -> None:
    path = write_video("a.mp4", moving(50, seed=1), sound=sound)
    (clip,) = split(media_of(path), spec(video={"num_frames": 49}))[0]
    assert clip.audio == kind
    assert clip.audio_channels == 2
    samples = clip_audio(clip)
    assert (samples is None) == (sound is None)
    assert samples is None or samples.shape == (2, round(clip_seconds(clip) * 16_000))
    (mute,) = split(media_of(path), spec(video={"num_frames": 49}, audio={"auto_split": False}))[0]
    assert (mute.audio, mute.audio_channels, mute.loudness_db) == ("none", 0, -120.0)
    assert clip_audio(mute) is None


def test_broken_sound_keeps_the_pictures(write_video: WriteVideo, media_of: MediaOf, spec: Spec) -> None:
    path = write_video("a.mp4", moving(50, seed=1), sound=tone(2, 0.3))
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(0)
    for position, size in spans:
        data[position : position + size] = noise.bytes(size)
    path.write_bytes(data)
    (clip,) = split(media_of(path), spec(video={"num_frames": 49}))[0]
    assert clip.audio == "broken"
    assert clip_frames(clip).shape == (49, 64, 64, 3)


def test_clip_frames(write_video: WriteVideo, number: Number, media_of: MediaOf, spec: Spec) -> None:
    """60 fps footage at 25: each frame of the clip is the one on screen then, in a bucket of the source's shape."""
    show, read = number
    path = write_video("a.mp4", [show(n) for n in range(120)], rate=60)
    settings: dict[str, Any] = {"video": {"num_frames": 25, "frame_rate": 25}, "resolution": 96}
    media = media_of(path)
    clips, _ = split(media, spec(**settings))
    frames = clip_frames(clips[0])
    assert frames.shape == (25, clips[0].height, clips[0].width, 3)
    assert (clips[0].width, clips[0].height) == (96, 96)
    again = clip_frames(clips[0].model_copy(update={"width": 64, "height": 32}))
    assert again.shape == (25, 32, 64, 3)
    first = round(clips[0].start_seconds * 60)
    assert [read(frame) for frame in again] == [first + int(n * 60 / 25 + 0.01) for n in range(25)]
    assert np.array_equal(frames, clip_frames(clips[0]))
    assert split(media, spec(**settings))[0] == clips


def test_the_middle_is_kept(write_video: WriteVideo, clip: Callable[..., Clip], plain: Plain) -> None:
    picture = plain(20)
    picture[:, 22:42] = 230
    frames = clip_frames(clip(path=str(write_video("a.mp4", [picture] * 9)), width=64, height=96))
    columns = frames[0].mean(axis=(0, 2))
    assert columns[len(columns) // 2] > 200
    assert (columns > 120).sum() == 40
    assert columns == pytest.approx(columns[::-1], abs=40)


@pytest.mark.parametrize(
    ("least", "kind", "kept"),
    [
        (48, "pixel_area", True),
        (49, "pixel", False),
        (49, "pixel_area", False),
        (0.003, "area", True),
        (0.004, "area", False),
    ],
)
def test_a_least_size_sets_smaller_footage_aside(
    write_video: WriteVideo, media_of: MediaOf, spec: Spec, least: float, kind: str, kept: bool
) -> None:
    """Footage of 64x48: its shorter edge in pixels, or 0.003072 megapixels."""
    media = media_of(write_video("a.mp4", moving(9, seed=1)))
    sized = spec(
        0.004 if kind == "area" else 48, resolution_type=kind, minimum_image_size=least, video={"num_frames": 9}
    )
    clips, aside = split(media, sized)
    assert len(clips) == kept
    assert aside == ({} if kept else {"set/a.mp4": QuarantineReason.TOO_SMALL})
