"""What is heard in a span, and at which audio latent frames the file has no sound."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ltx_core.media.audio import Span, audio_and_gaps
from ltx_core.media.clip import absent_latent_frames, heard
from ltx_core.shapes import audio_latent_frames

WriteVideo = Callable[..., Path]
Plain = Callable[..., npt.NDArray[np.uint8]]
CLIP = 17 / 25
"""Seconds: 17 audio latent frames."""


def tone(seconds: float, rate: int = 48_000) -> npt.NDArray[np.float32]:
    time = np.arange(round(seconds * rate)) / rate
    return np.tile((0.4 * np.sin(2 * np.pi * 440 * time)).astype(np.float32), (2, 1))


@pytest.mark.parametrize(
    ("gaps", "absent"),
    [
        ([], []),
        ([(0.0, 0.02)], []),  # a codec's delay
        ([(0.64, 0.66)], []),
        ([(0.0, 0.5)], range(14)),  # 0.49 to 0.53 is the last that overlaps it
        ([(0.18, 0.68)], range(5, 17)),
        ([(0.21, 0.25)], [6]),  # one latent frame to the hundredth
        ([(0.1, 0.15), (0.3, 0.31), (0.4, 0.5)], [3, 4, 10, 11, 12, 13]),
        ([(0.0, 0.68)], range(17)),
    ],
)
def test_latent_frames_that_overlap_a_gap_are_absent(gaps: list[tuple[float, float]], absent: list[int]) -> None:
    found = absent_latent_frames([Span(*gap) for gap in gaps], CLIP)
    assert found == tuple(absent)
    assert all(0 <= n < audio_latent_frames(CLIP) for n in found)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_that_begins_late_or_ends_early_is_absent_there(
    write_video: WriteVideo, plain: Plain, codec: str
) -> None:
    late = write_video("late.mov", [plain(20)] * 17, sound=tone(0.18), sound_start=0.5, sound_codec=codec)
    early = write_video("early.mov", [plain(20)] * 17, sound=tone(0.2), sound_codec=codec)
    whole = write_video("whole.mov", [plain(20)] * 17, sound=tone(CLIP), sound_codec=codec)
    of_late, of_early = heard(late, 0.0, CLIP, 2), heard(early, 0.0, CLIP, 2)
    assert of_late.absent[:12] == tuple(range(12))
    assert set(of_late.absent) <= set(range(14))
    assert of_early.absent[-11:] == tuple(range(6, 17))
    assert of_early.absent[0] in (5, 6)  # AAC ends with a whole block
    assert {of_late.kind, of_early.kind} <= {"voiced", "other"}
    assert heard(whole, 0.0, CLIP, 2).absent == ()


def test_a_span_beyond_the_sound_has_none(write_video: WriteVideo, plain: Plain) -> None:
    """It is absent and not silent, so it is not taught as silence, and the picture trains without it."""
    path = write_video("short.mov", [plain(20)] * 50, sound=tone(0.5), sound_codec="pcm_s16le")
    assert heard(path, 1.0, CLIP, 2).kind == "none"
    found = audio_and_gaps(path, 1.0, CLIP)
    assert found is not None
    assert found[1] == [Span(0.0, CLIP)]
    silent = write_video("silent.mov", [plain(20)] * 50, sound=tone(2.0) * 0, sound_codec="pcm_s16le")
    assert heard(silent, 1.0, CLIP, 2).kind == "silent"
    assert heard(silent, 1.0, CLIP, 2).absent == ()
