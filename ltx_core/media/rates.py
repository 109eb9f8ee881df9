"""The rate at which a file's pictures usually follow one another, and the rate that its clips have by it.

The rule. Where nine tenths of the intervals between pictures are alike, the mean of those is the usual interval;
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
from typing import Literal

from datasets_spec.rows import Media, Scan

CAMERA_RATES = tuple(
    Fraction(rate) for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48000/1001", "48", "50", "60000/1001")
) + tuple(Fraction(rate) for rate in ("60", "90", "100", "120000/1001", "120", "240000/1001", "240"))
HIGHEST_RATE = 30.0
"""Clips have at most this many frames a second: LTX-2 was trained at 24 to 30 (50 and more are halved)."""
ALIKE, REGULAR_SHARE = 0.1, 0.9
"""By how much of it intervals differ from the median at most to be like it, and how many must be."""
CHANGED_FRAMES = 0.5
"""Fewer than this are repeated or dropped where a rate is only rounded."""
PAUSE = 2.0
"""Intervals longer than this many medians are pauses."""


def usual_rate(shown: Sequence[float], tolerance: float, stated: Sequence[Fraction | None]) -> float:
    """Frames per second of pictures shown at these times in seconds, which are rounded by up to `tolerance`.

    `stated`: what the container says, most trusted first; it alone counts for a single picture, or 25 without it.
    """
    known = [rate for rate in stated if rate]
    steps = [later - earlier for earlier, later in pairwise(shown) if later > earlier]
    if not steps:
        return float(known[0]) if known else 25.0
    middle = median(steps)
    alike = [step for step in steps if abs(step - middle) <= ALIKE * middle + 2 * tolerance]
    is_regular = len(alike) >= REGULAR_SHARE * len(steps)
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
    """How frames are taken from a file: `rate` a second, each `phase_seconds` after its interval begins."""

    rate: float
    phase_seconds: float
    scan: Scan


def sampling(media: Media, wanted: float | Literal["native"]) -> Sampling:
    """How frames of a file are taken at a wanted rate. At its own they are taken in the middle of a picture's usual
    time on screen, so that times which wobble repeat and drop none; at another, at the beginning of each interval."""
    if wanted == "native":
        return Sampling(native_rate(media.usual_rate), 0.5 / media.usual_rate, media.scan)
    return Sampling(wanted, 0.0, media.scan)


def native_rate(usual: float) -> float:
    """The rate of clips that keep their own: the usual one, or the largest whole part of it up to `HIGHEST_RATE`."""
    return usual / max(math.ceil(usual / HIGHEST_RATE - 1e-3), 1)


def resampled(usual: float, wanted: float, seconds: float) -> str:
    """What is done to so many seconds of pictures at their usual rate to have them at a wanted one, in words; an empty
    string if next to nothing."""
    changed = (wanted - usual) * seconds
    if abs(changed) < CHANGED_FRAMES:
        return ""
    what = "repeated" if changed > 0 else "dropped"
    return f"{abs(changed):.0f} of {max(usual, wanted) * seconds:.0f} frames {what}"
