"""The frames of a file at given times: what was on screen then, whatever the file's own frame rate."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from datasets_spec.rows import Scan
from ltx_core.media.container import truncated
from ltx_core.media.deinterlace import whole_pictures
from ltx_core.media.display import picture
from ltx_core.media.timeline import TimedFrame

Resize = Callable[[int, int], tuple[int, int]]
"""From displayed (width, height) to the wanted (width, height)."""
HOLD_SECONDS = 0.25
"""How long the last frame may stand past its end; beyond, the file is shorter than its packets said."""


def decode_frames(
    path: Path,
    times: Sequence[float],
    *,
    resize: Resize | None = None,
    luma: bool = False,
    scan: Scan = "progressive",
) -> Iterator[npt.NDArray[np.uint8]]:
    """One uint8 [H, W, 3] RGB frame, as displayed, for each time; with `luma`, [H, W].

    The frame at time t is the last frame shown at or before t, so the same seconds pass whatever the file's rate,
    constant or not. `times` are seconds since the file's first frame was shown, not decreasing. The file is read once,
    forward, from the keyframe before the first time. `scan`: how the file is scanned, if not progressively; then its
    frames are put together from fields first. A frame asked for twice is the same array: do not write to it.

    Raises:
        MediaError: the file cannot be opened or decoded, or ends more than `HOLD_SECONDS` before a time.
        ValueError: `times` decrease.
    """
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("times decrease; frames are decoded forward, so sort them")
    if not times:
        return
    scaler = VideoReformatter()
    for timed, count in _on_screen(whole_pictures(path, max(times[0], 0.0), scan), times, path):
        displayed = (timed.display.width, timed.display.height)
        size = displayed if resize is None else resize(*displayed)
        shown = picture(timed.frame, timed.display, size, scaler=scaler, luma=luma)
        for _ in range(count):
            yield shown


def _on_screen(frames: Iterator[TimedFrame], times: Sequence[float], path: Path) -> Iterator[tuple[TimedFrame, int]]:
    """Frames that are on screen at some time, each with how many of `times` fall to it."""
    current = next(frames)
    done = 0
    for upcoming in frames:
        count = 0
        while done + count < len(times) and times[done + count] + upcoming.tolerance < upcoming.time:
            count += 1
        if count:
            yield current, count
            done += count
        if done == len(times):
            return
        current = upcoming
    if times[-1] > current.end + HOLD_SECONDS:
        raise truncated(path, f"its frames end at {current.end:.2f} s, and one at {times[-1]:.2f} s is wanted")
    yield current, len(times) - done
