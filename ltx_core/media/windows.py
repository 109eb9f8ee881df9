"""Which frames of a scene make a clip. Frames here are those of the wanted rate, counted from the file's first."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from ltx_core.shapes import floor_frames

WHOLE_FRAME = 0.1
"""A frame counts if all but this share of it is there: container times are rounded."""


class Window(NamedTuple):
    """A run of frames."""

    start: int
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long clips may be, in frames. `keep_own`: a clip is as long as its scene allows, not always `longest`."""

    longest: int
    shortest: int
    interval: int
    keep_own: bool

    def floored(self, frames: int) -> int:
        """The length a clip of at most `frames` gets: 8k+1; with `keep_own`, a multiple of the interval plus 1 first.

        An interval that is no multiple of 8 therefore gives the 8k+1 just below each of its steps.
        """
        frames = min(frames, self.longest)
        if self.keep_own:
            frames = (frames - 1) // self.interval * self.interval + 1
        return floor_frames(frames)

    @property
    def needed(self) -> int:
        """Frames that a scene must have to give a clip: with `keep_own`, one as long as `shortest` gives."""
        if not self.keep_own:
            return self.floored(self.longest)
        return math.ceil((self.floored(self.shortest) - 1) / self.interval) * self.interval + 1


def clip_lengths(num_frames: int, min_frames: int | None, bucket_strategy: str, frame_interval: int) -> Lengths:
    """The lengths that a `VideoSpec` asks for; `min_frames` is floored like `num_frames` and defaults to it."""
    return Lengths(
        longest=num_frames,
        shortest=min(min_frames or num_frames, num_frames),
        interval=frame_interval,
        keep_own=bucket_strategy == "resolution_frames",
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
