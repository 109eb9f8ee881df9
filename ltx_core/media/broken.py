"""Signs that a video is broken, found without any learning: it is of one colour, it is noise, or it stands still."""

import numpy as np
import numpy.typing as npt

from ltx_core.media.measure import Pixels, frame_luma

DARK = 8 / 255
"""A mean luma at most this is black."""
FLAT = 2 / 255
"""The standard deviation of luma, over all pixels and frames, of a clip of one colour."""
UNRELATED = 0.5
"""Correlation of neighbouring pixels at most this is noise. It is near 0 in white noise; in footage above 0.8, in one
direction at least, however fine the texture is."""
STILL = 1 / 255
"""The largest change of a cell's mean luma that decoders and codecs cause by themselves."""
CELL = 8
"""Pixels along the edge of a cell: its mean shows a small thing that moves, and hides noise that flickers."""


def broken(frames: Pixels, *, may_stand_still: bool = False) -> str | None:
    """Return what is wrong with the frames uint8 [F, H, W, 3], as a phrase that follows "it is"; None if nothing is.

    Black: brightness and spread are near zero. One colour: the spread is. Noise: neighbouring pixels are unrelated,
    beside, below and after each other. Frozen: no cell changes between the first frame and any other. A single frame
    is never frozen, nor is a clip that `may_stand_still`, because it was asked to.
    """
    luma = np.stack([frame_luma(frame) for frame in frames])
    mean, spread = float(luma.mean()), float(luma.std())
    if spread < FLAT:
        name = "black" if mean <= DARK else "of one colour"
        return f"{name} (brightness {mean:.3f}, spread {spread:.4f}, both of 1)"
    related = neighbour_correlations(luma)
    if max(related.values()) < UNRELATED:
        found = ", ".join(f"{name} {value:.2f}" for name, value in related.items())
        return f"noise (correlation of neighbouring pixels {found}; footage has above 0.8 in one direction at least)"
    if len(luma) > 1 and not may_stand_still and (change := _largest_change(luma)) < STILL:
        return f"frozen (between frames, brightness changes by {change:.4f} of 1 at most)"
    return None


def neighbour_correlations(luma: npt.NDArray[np.float32]) -> dict[str, float]:
    """Correlation of each pixel of luma [F, H, W] with the one `beside`, `below` and `after` it, where there is one;
    each frame's own mean is left out, so that a flicker of the whole frame relates nothing."""
    centred = luma - luma.mean(axis=(1, 2), keepdims=True)
    pairs = {
        "beside": (centred[:, :, :-1], centred[:, :, 1:]),
        "below": (centred[:, :-1], centred[:, 1:]),
        "after": (centred[:-1], centred[1:]),
    }
    return {name: _correlation(one, other) for name, (one, other) in pairs.items() if one.size}


def _correlation(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """1 where neither varies: equal values are related."""
    scale = float(np.sqrt(np.square(one, dtype=np.float64).mean() * np.square(other, dtype=np.float64).mean()))
    return float((one * other).mean(dtype=np.float64)) / scale if scale > 0 else 1.0


def _largest_change(luma: npt.NDArray[np.float32]) -> float:
    """Of any cell's mean luma, from the first frame to any other."""
    _, height, width = luma.shape
    rows, columns = np.arange(0, height, CELL), np.arange(0, width, CELL)
    sums = np.add.reduceat(np.add.reduceat(luma, rows, axis=1), columns, axis=2)
    sizes = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    means = sums / sizes
    return float(np.abs(means[1:] - means[0]).max())
