"""One pass over a video that notes, for every frame of the wanted rate, what cutting and judging clips needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ltx_core.media.buckets import fit_size
from ltx_core.media.frames import decode_frames
from ltx_core.media.measure import frame_luma, is_same, laplacian_variance, perceptual_hash
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


def analyse(path: Path, num_frames: int, frame_rate: float) -> Analysis:
    """Decode `num_frames` frames at `frame_rate` from the start, once, small and without colour.

    Raises:
        MediaError: the file cannot be decoded to that time.
    """
    times = [n / frame_rate for n in range(num_frames)]
    return _analyse(decode_frames(path, times, resize=lambda w, h: fit_size(w, h, ANALYSIS_EDGE), luma=True))


def _analyse(frames: Iterable[npt.NDArray[np.uint8]]) -> Analysis:
    meter = ChangeMeter()
    sharpness, brightness, change, same, hashes = [], [], [], [], []
    last = last_luma = None
    for frame in frames:
        luma = frame_luma(frame)
        meter.add(frame)
        sharpness.append(laplacian_variance(luma))
        brightness.append(float(luma.mean()))
        change.append(0.0 if last_luma is None else float(np.abs(luma - last_luma).mean()))
        same.append(last is not None and is_same(last, frame))
        hashes.append(perceptual_hash(frame))
        last, last_luma = frame, luma
    return Analysis(
        sharpness=np.array(sharpness),
        brightness=np.array(brightness),
        change=np.array(change),
        same=np.array(same, dtype=np.bool_),
        hashes=tuple(hashes),
        cuts=tuple(meter.cuts()),
    )
