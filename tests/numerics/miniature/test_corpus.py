"""What the corpus promises to cover."""

import itertools
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from ltx_core.errors import ConfigError
from ltx_core.tiny.corpus import DECLARED
from ltx_core.tiny.scenes import SCENES, draw
from ltx_core.tiny.sounds import AUDIO_BY_NAME, SYLLABLE_SECONDS, mouth_opening, play, spread

GOOD = [footage for footage in DECLARED if footage.broken is None]


def test_enough_files_long_enough() -> None:
    assert len(GOOD) >= 16
    assert min(footage.seconds for footage in GOOD) >= 1.2
    assert len({footage.name for footage in DECLARED}) == len(DECLARED)
    assert {footage.broken for footage in DECLARED} == {None, "truncated", "empty", "too_short"}


def test_kinds_of_footage_are_covered() -> None:
    assert {footage.muxer for footage in GOOD} == {"mp4", "mov", "webm", "matroska"}
    assert {footage.audio.layout if footage.audio else None for footage in GOOD} == {"mono", "stereo", "5.1", None}
    assert {footage.audio.codec for footage in GOOD if footage.audio} == {"aac", "opus", "pcm_s16le"}
    assert any(footage.audio and footage.audio.is_silent for footage in GOOD)
    ratios = {round(footage.width / footage.height, 2) for footage in GOOD}
    assert {1.78, 1.33, 1.0, 0.56} <= ratios
    rates = {round(float(footage.frame_rate), 3) for footage in GOOD if not footage.is_variable_rate}
    assert {23.976, 25.0, 29.97, 60.0} <= rates
    assert any(footage.is_variable_rate for footage in GOOD)


def test_names_try_what_file_systems_allow() -> None:
    names = [footage.name for footage in GOOD]
    assert any(" " in name and not name.isascii() for name in names)
    assert any("/" in name for name in names)
    assert any(name.endswith(".MP4") for name in names)


def test_exactly_one_caption_is_used_twice() -> None:
    counts = Counter(footage.caption for footage in DECLARED)
    assert sorted(counts.values())[-2:] == [1, 2]


@pytest.mark.parametrize("scene", SCENES)
def test_scene_moves_and_is_neither_black_nor_white(scene: str) -> None:
    seconds = 8.0 if scene == "four_scenes" else 2.0
    frames = np.stack([draw(scene, seconds * share, seconds, (96, 64)) for share in (0.1, 0.3, 0.5, 0.7)])
    assert frames.dtype == np.uint8
    assert frames.shape == (4, 64, 96, 3)
    assert 0.03 < frames.mean() / 255 < 0.97
    assert all(np.abs(b.astype(int) - a).mean() > 0.3 for a, b in itertools.pairwise(frames))


def test_rolling_ball_goes_from_left_to_right() -> None:
    places = []
    for share in (0.25, 0.5, 0.75):
        frame = draw("rolling_ball", 2 * share, 2.0, (160, 90)).astype(int)
        red = frame[..., 0] - frame[..., 1] > 100
        places.append(np.nonzero(red)[1].mean())
    np.testing.assert_allclose(places, [40, 80, 120], atol=10)


@pytest.mark.parametrize("sound", AUDIO_BY_NAME)
def test_sound_is_in_range_and_of_the_right_length(sound: str) -> None:
    wave = play(sound, 1.5, 16_000)
    assert wave.shape == (2, 24_000)
    assert wave.dtype == np.float32
    assert np.abs(wave).max() < 1
    assert (np.abs(wave).max() > 0.05) == (sound != "silence")


def test_voice_is_silent_while_the_mouth_is_shut() -> None:
    wave = play("voice", 2.0, 16_000)[0]
    shut = mouth_opening(np.arange(len(wave)) / 16_000) == 0
    assert shut.sum() > 0.9 * SYLLABLE_SECONDS * 16_000
    assert np.abs(wave[shut]).max() == 0


def test_unknown_layout_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"7\.1"):
        spread(np.zeros((2, 10), dtype=np.float32), "7.1")


def test_drawing_and_muxing_need_no_torch() -> None:
    code = "import sys, ltx_core.tiny.footage; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
