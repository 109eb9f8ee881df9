"""One pass over a video that notes, for every frame of the wanted rate, what cutting and judging clips needs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ltx_core.media.buckets import Size, fit_size
from ltx_core.media.frames import decode_frames
from ltx_core.media.measure import frame_luma, is_same, laplacian_variance, perceptual_hash
from ltx_core.media.rates import Sampling
from ltx_core.media.scenes import ChangeMeter
from ltx_core.media.windows import Window

ANALYSIS_EDGE = 256
"""Longest edge of the pictures that are judged. Sharpness is that of pictures of this size."""
BLACK_LUMA = 0.03

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """What `datasets_spec.Clip` says of a clip's pictures, under the same names."""

    sharpness: float
    motion: float
    black_fraction: float
    frozen_fraction: float
    perceptual_hash: str


@dataclass(frozen=True)
class Analysis:
    """One number a frame; the pictures themselves are not kept. `change` and `same` compare with the frame before."""

    sharpness: Floats
    brightness: Floats
    change: Floats
    same: npt.NDArray[np.bool_]
    hashes: tuple[str, ...]
    cuts: tuple[int, ...]
    """Among them frames at which the displayed size changes."""
    sizes: tuple[Size, ...]
    """Displayed (width, height) of each frame."""

    def scenes(self) -> list[tuple[int, int]]:
        """Spans [start, end) between cuts, in frames."""
        borders = [0, *self.cuts, len(self.hashes)]
        return list(pairwise(borders))

    def figures(self, window: Window) -> Figures:
        """The figures of the frames in `window`."""
        frames = slice(window.start, window.start + window.num_frames)
        steps = slice(window.start + 1, window.start + window.num_frames)
        has_steps = window.num_frames > 1
        return Figures(
            sharpness=float(self.sharpness[frames].mean()),
            motion=float(self.change[steps].mean()) if has_steps else 0.0,
            black_fraction=float((self.brightness[frames] < BLACK_LUMA).mean()),
            frozen_fraction=float(self.same[steps].mean()) if has_steps else 0.0,
            perceptual_hash=self.hashes[window.start + window.num_frames // 2],
        )


def analyse(path: Path, num_frames: int, sampling: Sampling) -> Analysis:
    """Decode `num_frames` frames from the start, once, small and without colour.

    Raises:
        MediaError: the file cannot be decoded to that time.
    """
    times = [n / sampling.rate + sampling.phase_seconds for n in range(num_frames)]
    sizes: list[Size] = []

    def small(width: int, height: int) -> Size:
        sizes.append((width, height))
        return fit_size(width, height, ANALYSIS_EDGE)

    return _analyse(decode_frames(path, times, resize=small, luma=True, scan=sampling.scan), sizes)


def _analyse(frames: Iterable[npt.NDArray[np.uint8]], seen: Sequence[Size]) -> Analysis:
    """`seen`: the displayed size of each different frame so far, filled while the frames come."""
    meter = ChangeMeter()
    sharpness, brightness, change, same, hashes, sizes = [], [], [], [], [], []
    last = last_luma = None
    for frame in frames:
        sizes.append(seen[-1])
        if frame is last:  # still on screen: an hour's pause is no hour's work
            meter.repeat()
            for figures, figure in ((sharpness, sharpness[-1]), (brightness, brightness[-1]), (change, 0.0)):
                figures.append(figure)
            same.append(True)
            hashes.append(hashes[-1])
            continue
        luma = frame_luma(frame)
        meter.add(frame)
        sharpness.append(laplacian_variance(luma))
        brightness.append(float(luma.mean()))
        if last is None or last_luma is None or sizes[-1] != sizes[-2]:
            change.append(0.0)
            same.append(False)
        else:
            change.append(float(np.abs(luma - last_luma).mean()))
            same.append(is_same(last, frame))
        hashes.append(perceptual_hash(frame))
        last, last_luma = frame, luma
    resized = {n for n in range(1, len(sizes)) if sizes[n] != sizes[n - 1]}
    return Analysis(
        sharpness=np.array(sharpness),
        brightness=np.array(brightness),
        change=np.array(change),
        same=np.array(same, dtype=np.bool_),
        hashes=tuple(hashes),
        cuts=tuple(sorted(resized | set(meter.cuts()))),
        sizes=tuple(sizes),
    )
