"""The rate of clips, and which frames of a scene make a clip, counted at that rate from the file's first.

The rule. Where nine tenths of the intervals between frames are alike, the mean of those is the usual interval;
otherwise the mean of all intervals but pauses, which are longer than twice the median. The rate of that interval is
taken as the rate that the container states, or as one that cameras have, if it is as near as the rounding of the times
explains; else it is as measured. Of footage of variable rate it is a whole number, or one that cameras have if that
alone is near enough.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple

from datasets_spec.rows import Ground, Media, Scan
from datasets_spec.spec import VideoSpec
from ltx_core.shapes import floor_frames

CAMERA_RATES = tuple(
    Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48000/1001", "48", "50", "60000/1001")
) + tuple(Fraction(rate) for rate in ("60", "90", "100", "120000/1001", "120", "240000/1001", "240"))
HIGHEST_RATE = 30.0
"""Clips have at most this many frames a second: LTX-2 was trained at 24 to 30 (50 and more are halved)."""
ALIKE, REGULAR_FRACTION = 0.1, 0.9
"""By how much of it intervals differ from the median at most to be like it, and how many must be."""
CHANGED_FRAMES = 0.5
"""Fewer than this are repeated or dropped where a rate is only rounded."""
PAUSE = 2.0
"""Intervals longer than this many medians are pauses."""


def usual_rate(shown: Sequence[float], tolerance: float, stated: Sequence[Fraction | None]) -> float:
    """Frames per second of frames shown at these times in seconds, which are rounded by up to `tolerance`.

    `stated`: what the container says, most trusted first; it alone counts for a single frame, or 25 without it.
    """
    known = [rate for rate in stated if rate]
    steps = [later - earlier for earlier, later in pairwise(shown) if later > earlier]
    if not steps:
        return float(known[0]) if known else 25.0
    middle = median(steps)
    alike = [step for step in steps if abs(step - middle) <= ALIKE * middle + 2 * tolerance]
    is_regular = len(alike) >= REGULAR_FRACTION * len(steps)
    used = alike if is_regular else [step for step in steps if step <= PAUSE * middle]
    measured, jitter = 1 / fmean(used), 2 * tolerance + (0.0 if is_regular else max(used) - min(used))
    error = measured * (jitter / fmean(used) / len(used) + 1e-5)
    whole = [Fraction(max(round(measured), 1))]
    for rates in (known if is_regular else whole, CAMERA_RATES):  # of uneven times containers state a mere mean
        nearest = min(rates, key=lambda rate: abs(float(rate) - measured), default=None)
        if nearest is not None and abs(float(nearest) - measured) <= error:
            return float(nearest)
    return measured if is_regular else float(whole[0])


@dataclass(frozen=True)
class Sampling:
    """Times at which frames are taken from a file: `rate` a second, each `phase_seconds` after its interval begins."""

    rate: float
    phase_seconds: float
    scan: Scan
    ground: Ground = "black"
    """The colour that is seen where the file is transparent."""


def sampling(media: Media, video: VideoSpec) -> Sampling:
    """Return how frames of a file are taken at the rate that is asked for. At its own they are taken in the middle of a
    frame's usual time on screen, so that times which wobble repeat and drop none; at another, at the beginning of each
    interval. An image has one frame at any rate, and keeps its own."""
    ground: Ground = "white" if media.has_alpha and video.alpha == "white" else "black"
    if media.is_image:
        return Sampling(media.usual_rate, 0.5 / media.usual_rate, media.scan, ground)
    if video.frame_rate == "native":
        rate = native_rate(media.usual_rate) / video.frame_stride
        return Sampling(rate, 0.5 / media.usual_rate, media.scan, ground)
    return Sampling(video.frame_rate, 0.0, media.scan, ground)


def native_rate(usual: float) -> float:
    """The rate of clips that keep their own: the usual one, or the largest whole part of it up to `HIGHEST_RATE`."""
    return usual / max(math.ceil(usual / HIGHEST_RATE - 1e-3), 1)


def resampled(usual: float, wanted: float, seconds: float) -> str:
    """Return what is done to so many seconds of frames at their usual rate to have them at a wanted one, in words; an
    empty string if next to nothing."""
    changed = (wanted - usual) * seconds
    if abs(changed) < CHANGED_FRAMES:
        return ""
    what = "repeated" if changed > 0 else "dropped"
    return f"{abs(changed):.0f} of {max(usual, wanted) * seconds:.0f} frames {what}"


WHOLE_FRAME = 0.1
"""A frame counts if all but this fraction of it is there: container times are rounded."""


class Window(NamedTuple):
    """A run of frames."""

    start: int
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Lengths of clips, in frames. `keep_own`: a clip is as long as its scene allows, not always `longest`."""

    longest: int
    shortest: int
    interval: int
    keep_own: bool
    counts: tuple[int, ...] = ()
    """The only lengths of clips, if there are several to choose from."""

    def floored(self, frames: int) -> int:
        """The length a clip of at most `frames` gets: 8k+1; with `keep_own`, a multiple of the interval plus 1 first.

        An interval that is no multiple of 8 therefore gives the 8k+1 just below each of its steps. Of several `counts`
        it is the largest that fits.
        """
        if self.counts:
            return max(count for count in self.counts if count <= frames)
        frames = min(frames, self.longest)
        if self.keep_own:
            frames = (frames - 1) // self.interval * self.interval + 1
        return floor_frames(frames)

    @property
    def needed(self) -> int:
        """Frames that a scene must have to give a clip: with `keep_own`, one as long as `shortest` gives."""
        if self.counts:
            return min(self.counts)
        if not self.keep_own:
            return self.floored(self.longest)
        return math.ceil((self.floored(self.shortest) - 1) / self.interval) * self.interval + 1


ONE_FRAME = Lengths(longest=1, shortest=1, interval=1, keep_own=False)
"""Of a clip that is an image."""


def clip_lengths(video: VideoSpec) -> Lengths:
    """The lengths that are asked for; `min_frames` is floored like `num_frames` and defaults to it."""
    longest, counts = video.frame_counts[0], {floor_frames(frames) for frames in video.frame_counts}
    return Lengths(
        longest=longest,
        shortest=min(video.min_frames or longest, longest),
        interval=video.frame_interval,
        keep_own=video.bucket_strategy == "resolution_frames",
        counts=tuple(sorted(counts)) if len(counts) > 1 else (),
    )


def whole_frames(seconds: float, frame_rate: float) -> int:
    """Frames of `frame_rate` that fit in `seconds`."""
    return math.floor(seconds * frame_rate + WHOLE_FRAME)


def scene_windows(start: int, end: int, lengths: Lengths) -> list[Window]:
    """Windows that fill the scene [start, end) back to back from its start; what is left over gives none."""
    windows = []
    while end - start >= lengths.needed:
        window = Window(start, lengths.floored(end - start))
        windows.append(window)
        start += window.num_frames
    return windows
