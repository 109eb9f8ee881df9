"""The files are what the corpus declares, read back with plain PyAV."""

import itertools
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ltx_core.errors import Stopped
from ltx_core.progress import Silent
from ltx_core.tiny.corpus import DECLARED, Footage
from ltx_core.tiny.footage import write_footage
from ltx_core.tiny.scenes import draw
from ltx_core.tiny.sounds import LAYOUTS

GOOD = [footage for footage in DECLARED if footage.broken is None]
BY_NAME = {footage.name: footage for footage in DECLARED}
DEMUXERS = {"mp4": "mov,mp4", "mov": "mov,mp4", "webm": "matroska,webm", "matroska": "matroska,webm"}
MATROSKA_TICK = 0.001
"""Matroska counts time in milliseconds."""


def decoded(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def sound_of(path: Path) -> np.ndarray:
    """[channels, N]."""
    planar = av.AudioResampler(format="dblp")
    with av.open(str(path)) as container:
        pieces = [part.to_ndarray() for frame in container.decode(audio=0) for part in planar.resample(frame)]
    return np.concatenate(pieces, axis=1)


@pytest.mark.parametrize("footage", GOOD, ids=lambda footage: footage.name)
def test_file_is_as_declared(footage: Footage, corpus_folder: Path) -> None:
    path = corpus_folder / footage.name
    with av.open(str(path)) as container:
        assert container.format.name.startswith(DEMUXERS[footage.muxer])
        video = container.streams.video[0]
        assert video.codec_context.name == footage.video_codec
        assert (video.width, video.height) == footage.coded_size
        assert len(container.streams.audio) == (footage.audio is not None)
        if footage.audio:
            audio = container.streams.audio[0]
            assert audio.codec_context.name == footage.audio.codec
            assert (audio.layout.name, audio.rate) == (footage.audio.layout, footage.audio.rate)
            assert audio.channels == LAYOUTS[footage.audio.layout]
    frames = decoded(path)
    assert len(frames) == footage.num_frames
    times = np.array([frame.time for frame in frames])
    np.testing.assert_allclose(
        times, np.array(footage.frame_steps[:-1]) / float(footage.frame_rate), atol=MATROSKA_TICK
    )
    assert {frame.rotation for frame in frames} == {-footage.rotation}  # ffmpeg counts anticlockwise
    intervals = np.diff(times)
    assert (intervals.max() > 1.5 * intervals.min()) == footage.is_variable_rate
    assert path.with_suffix(".txt").read_text(encoding="utf-8").strip() == footage.caption


@pytest.mark.parametrize("footage", [f for f in GOOD if f.audio], ids=lambda footage: footage.name)
def test_sound_lasts_as_long_as_the_picture_and_is_heard_if_it_should_be(footage: Footage, corpus_folder: Path) -> None:
    assert footage.audio is not None
    sound = sound_of(corpus_folder / footage.name)
    assert sound.shape[1] / footage.audio.rate == pytest.approx(footage.seconds, abs=0.07)
    level = 10 * np.log10(np.mean(sound**2) + 1e-12)
    assert level < -90 if footage.audio.is_silent else -45 < level < -6


def test_stored_picture_is_upright_once_turned(corpus_folder: Path) -> None:
    (kite,) = [footage for footage in DECLARED if footage.rotation]
    first = decoded(corpus_folder / kite.name)[0].to_ndarray(format="rgb24")
    upright = np.rot90(first, -kite.rotation // 90)
    wanted = draw(kite.scene, 0.0, kite.seconds, (kite.width, kite.height))
    assert upright.shape == wanted.shape
    assert np.abs(upright.astype(int) - wanted).mean() < 10
    assert upright[-10:].mean(axis=(0, 1))[1] > 2 * upright[-10:].mean(axis=(0, 1))[2]  # the green meadow is below


def test_hard_cuts_are_where_the_scene_changes(corpus_folder: Path) -> None:
    frames = [frame.to_ndarray(format="gray").astype(float) for frame in decoded(corpus_folder / "four_scenes.mp4")]
    changes = [float(np.abs(b - a).mean()) for a, b in itertools.pairwise(frames)]
    assert sorted(np.argsort(changes)[-3:] + 1) == [75, 150, 225]
    assert min(sorted(changes)[-3:]) > 3 * sorted(changes)[-4]


def test_clicks_fall_on_the_joints(corpus_folder: Path) -> None:
    ball = BY_NAME["ball_rolls.mp4"]
    assert ball.audio is not None
    sharp = np.abs(np.diff(sound_of(corpus_folder / ball.name).sum(axis=0)))
    for third in (1, 2):
        around = round(third / 3 * ball.seconds * ball.audio.rate)
        window = sharp[around - 4000 : around + 4000]
        assert abs(int(np.argmax(window)) - 4000) < 0.02 * ball.audio.rate


def test_sound_follows_the_ball_from_left_to_right(corpus_folder: Path) -> None:
    left, right = sound_of(corpus_folder / "ball_rolls.mp4")
    third = len(left) // 3
    assert np.mean(left[:third] ** 2) > 2 * np.mean(right[:third] ** 2)
    assert np.mean(right[-third:] ** 2) > 2 * np.mean(left[-third:] ** 2)


def test_copy_has_the_bytes_of_its_original(corpus_folder: Path) -> None:
    copies = [footage for footage in DECLARED if footage.copy_of]
    assert copies
    for copy in copies:
        assert copy.copy_of is not None
        assert (corpus_folder / copy.name).read_bytes() == (corpus_folder / copy.copy_of).read_bytes()
    others = [(corpus_folder / footage.name).read_bytes() for footage in DECLARED if not footage.copy_of]
    assert len(set(others)) == len(others)


def test_truncated_file_opens_and_ends_early(corpus_folder: Path) -> None:
    (cut,) = [footage for footage in DECLARED if footage.broken == "truncated"]
    with av.open(str(corpus_folder / cut.name)) as container:
        assert container.streams.video[0].frames == cut.num_frames  # its index promises all of them
        assert container.duration == pytest.approx(cut.seconds * 1e6)
    assert 0 < len(decoded(corpus_folder / cut.name)) < cut.num_frames


def test_empty_file_is_empty_and_short_file_is_short(corpus_folder: Path) -> None:
    broken = {footage.broken: footage for footage in DECLARED if footage.broken}
    assert (corpus_folder / broken["empty"].name).stat().st_size == 0
    assert len(decoded(corpus_folder / broken["too_short"].name)) == broken["too_short"].num_frames == 3


@pytest.mark.parametrize("name", ["firefly.webm", "pendulum.mov", "hills_pass.mkv", "squares_cross.mp4"])
def test_same_bytes_every_time(name: str, corpus_folder: Path, tmp_path: Path) -> None:
    write_footage(tmp_path, [BY_NAME[name]])
    assert (tmp_path / name).read_bytes() == (corpus_folder / name).read_bytes()


def test_nothing_else_is_left_in_the_folder(corpus_folder: Path) -> None:
    found = {path.relative_to(corpus_folder).as_posix() for path in corpus_folder.rglob("*") if path.is_file()}
    media = {footage.name for footage in DECLARED}
    assert found == media | {str(Path(name).with_suffix(".txt")) for name in media}


def test_stops_between_files_when_asked(tmp_path: Path) -> None:
    class Stopping(Silent):
        stopping = True

    with pytest.raises(Stopped, match="footage"):
        write_footage(tmp_path, progress=Stopping())
    assert not list(tmp_path.iterdir())
