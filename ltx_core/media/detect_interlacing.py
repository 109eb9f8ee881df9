"""Detection of interlaced and telecined files, whatever their flags say.

The rule. ffmpeg's `idet` says of each frame which field comes first, or that it is progressive. It is deceived by sharp
patterns, so what it calls interlaced is checked: where frames move, the two fields of a frame must fit each other no
better than each fits the neighbouring frame's, as fields of different times do. A file is interlaced if a fifth of the
frames are by both tests, and one field comes first in nearly all of these; of files flagged as interlaced a twentieth
is enough. It is telecined if fields are also repeated, the top and the bottom one in turns, as in film spread over 60
fields. Flags alone decide nothing: progressive frames are often stored as two fields, and are left as they are.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from datasets_spec.rows import Colors, Scan
from ltx_core.media.display import TimedFrame, check_mappable, color_kind, is_transparent
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import Filter, timed_frames

INTERLACED_FRACTION, FLAGGED_FRACTION = 0.2, 0.05
"""Of the frames that were looked at: in files that say nothing, and in those flagged as interlaced."""
OTHER_PARITY = 0.2
"""At most this fraction of the interlaced frames may have the other field first."""
MISFIT = 0.9
"""A frame's fields are of different times if they fit each other no better than this times as badly as they fit their
neighbours. Measured: 0.97 to 1.05 of interlaced footage, up to 0.87 of progressive, noise included."""
MOVING_LEVELS = 12
"""By how much of 255 a pixel must change from frame to frame to count as moving."""
REPEATED_FRACTION = 0.08
"""Of all frames, with a repeated top field, and with a repeated bottom field: telecine has a fifth of each."""
COLUMNS = 480
"""About how many columns of a frame are compared; lines are all kept."""

Luma = npt.NDArray[np.int16]
PARITIES = ("tff", "bff")


@dataclass
class Tally:
    """Counts over the frames that were looked at."""

    frames: int = 0
    flagged: int = 0
    interlaced: Counter[str] = field(default_factory=Counter)
    """By which field comes first, `tff` or `bff`."""
    repeated: Counter[str] = field(default_factory=Counter)
    """By which field is the same as in the frame before, `top` or `bottom`."""
    fit_inside: int = 0
    fit_outside: int = 0
    """The misfit of the fields of frames called interlaced, with each other and with their neighbours' fields."""

    def verdict(self, *, may_be_film: bool) -> Scan:
        """Return what the file is; `may_be_film`: whether its rate is that of telecined film."""
        parity = max(PARITIES, key=lambda name: self.interlaced[name])
        count = self.interlaced[parity]
        least = FLAGGED_FRACTION if self.flagged * 2 > self.frames else INTERLACED_FRACTION
        is_mixed = sum(self.interlaced.values()) - count > OTHER_PARITY * count
        if count < max(least * self.frames, 2) or is_mixed:
            return "progressive"
        # Film's whole frames stand between its mixed ones, and idet takes them for interlaced; repetitions tell.
        repeats = min(self.repeated["top"], self.repeated["bottom"])
        if may_be_film and repeats >= REPEATED_FRACTION * self.frames:
            return "telecined_tff" if parity == "tff" else "telecined_bff"
        if self.fit_inside < MISFIT * self.fit_outside:
            return "progressive"
        return "interlaced_tff" if parity == "tff" else "interlaced_bff"


class FieldJudge:
    """Judges the frames of one span, in order, into a tally."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._filter: Filter | None = None
        self._shape = (0, 0, "")
        self._last: deque[Any] = deque(maxlen=3)
        self._scaler = VideoReformatter()

    def add(self, frame: Any) -> None:
        """Take the next frame; one of another size or format begins anew."""
        shape = (frame.width, frame.height, frame.format.name)
        if self._filter is None or shape != self._shape:
            self._filter, self._shape = Filter(frame, "idet"), shape
            self._last.clear()
        self._last.append(frame)
        self._tally.frames += 1
        self._tally.flagged += frame.interlaced_frame
        for judged in self._filter.put(frame):  # the frame before this one: idet waits for the next
            self._note(judged.metadata)

    def _note(self, said: dict[str, str]) -> None:
        repeated, kind = said["lavfi.idet.repeated.current_frame"], said["lavfi.idet.single.current_frame"]
        if repeated != "neither":
            self._tally.repeated[repeated] += 1
        if kind in PARITIES:
            self._tally.interlaced[kind] += 1
            if len(self._last) == 3:
                before, frame, after = (self._luma(frame) for frame in self._last)
                inside, outside = field_fit(before, frame, after)
                self._tally.fit_inside += inside
                self._tally.fit_outside += outside

    def _luma(self, frame: Any) -> Luma:
        gray = self._scaler.reformat(frame, format="gray", threads=1).to_ndarray()
        return np.asarray(gray[:, :: max(frame.width // COLUMNS, 1)], dtype=np.int16)


def field_fit(before: Luma, frame: Luma, after: Luma) -> tuple[int, int]:
    """Return how badly the lines of a frame [H, W], where it moves, fit between the lines around them: its own lines,
    and those of the nearer of its neighbours, taken for either order of fields."""
    around = frame[:-2] + frame[2:]
    moves = np.maximum(np.abs(frame - before), np.abs(after - frame))[1:-1] > MOVING_LEVELS
    inside, earlier, later = (
        np.where(moves, np.abs(around - 2 * lines[1:-1]), 0).sum(axis=1, dtype=np.int64)
        for lines in (frame, before, after)
    )
    top_first = int(earlier[0::2].sum() + later[1::2].sum())
    bottom_first = int(later[0::2].sum() + earlier[1::2].sum())
    return int(inside.sum()), min(top_first, bottom_first)


SPANS, SPAN_FRAMES = 5, 24
"""Number of places of a file that are examined, and number of frames in each; all frames of a shorter file."""
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
