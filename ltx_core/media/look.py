"""What some frames from all over a file say of all of it: how it is scanned, its colours, whether it is transparent."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from datasets_spec.rows import Colors, Scan
from ltx_core.media.colors import check_mappable, color_kind
from ltx_core.media.errors import MediaError
from ltx_core.media.scan import FieldJudge, Tally
from ltx_core.media.timeline import TimedFrame, timed_frames
from ltx_core.media.transparency import is_transparent

SPANS, SPAN_FRAMES = 5, 24
"""How many places of a file are looked at, and how many frames in each; all of a file that has no more."""
FILM_RATES = (29.5, 30.5)
"""Frames a second of telecined film, which is 23.976 or 24 of its own."""


@dataclass(frozen=True)
class Look:
    """As the fields of `datasets_spec.Media` of the same names."""

    scan: Scan
    colors: Colors
    has_alpha: bool


def look_at(path: Path, num_frames: int, seconds: float, rate: float, codec_tag: str) -> Look:
    """Decode some frames of a file of so many frames in so many seconds, usually `rate` a second.

    What cannot be decoded beyond the first frame is passed over: cutting clips says what is wrong with it.

    Raises:
        MediaError: HDR, the colours cannot be mapped; or the file cannot be opened or its first frame decoded.
    """
    first = next(timed_frames(path)).frame
    check_mappable(first, codec_tag, str(path))
    tally, has_alpha = Tally(), False
    for start, count in _spans(num_frames, seconds):
        judge = FieldJudge(tally)
        try:
            for timed in _frames(path, start, count):
                judge.add(timed.frame)
                has_alpha = has_alpha or is_transparent(timed.frame)
        except MediaError:
            continue
    may_be_film = FILM_RATES[0] < rate < FILM_RATES[1]
    return Look(tally.verdict(may_be_film=may_be_film), color_kind(first), has_alpha)


def _spans(num_frames: int, seconds: float) -> list[tuple[float, int]]:
    """Start in seconds and number of frames of each place to look at."""
    if num_frames <= SPANS * SPAN_FRAMES:
        return [(0.0, num_frames)]
    return [((n + 0.5) / SPANS * seconds, SPAN_FRAMES) for n in range(SPANS)]


def _frames(path: Path, start: float, count: int) -> Iterator[TimedFrame]:
    wanted = (timed for timed in timed_frames(path, start) if timed.end > start)
    return islice(wanted, count)
