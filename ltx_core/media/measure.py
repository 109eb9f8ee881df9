"""Figures of pictures and sound that say, without a reference, whether footage or a render is hopeless.

Luma is Rec. 709's, in [0, 1]. Frames are uint8 [n, H, W, 3] RGB or [n, H, W] luma. Sharpness depends on the size of
the pictures, so compare it only between pictures of one size.
"""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

SILENCE_DB = -120.0
"""What no sound, or digital silence, is given as."""
SAME_LEVELS = 2
"""Two frames are the same if no pixel's luma differs by more than this many of 255: what codecs leave of a still."""
REC_709 = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)

Pixels = npt.NDArray[np.uint8]


def sharpness(frames: Pixels) -> float:
    """Variance of the Laplacian of luma, mean over frames (Pech-Pacheco et al. 2000); 0 is flat."""
    return float(np.mean([laplacian_variance(frame_luma(frame)) for frame in frames]))


def motion(frames: Pixels) -> float:
    """Mean absolute luma difference between neighbouring frames, in [0, 1]; 0 for a single frame."""
    if len(frames) < 2:
        return 0.0
    return float(np.mean([np.abs(frame_luma(after) - frame_luma(before)).mean() for before, after in pairwise(frames)]))


def loudness_db(sound: npt.NDArray[np.float32] | None) -> float:
    """RMS level of sound [2, N] in dB of full scale; `SILENCE_DB` for none, and never below."""
    if sound is None or sound.size == 0:
        return SILENCE_DB
    power = float(np.mean(np.square(sound, dtype=np.float64)))
    return max(10 * math.log10(power), SILENCE_DB) if power > 0 else SILENCE_DB


def perceptual_hash(frame: Pixels) -> str:
    """64-bit difference hash of one frame, 16 hex digits: whether each of 8x8 cells is brighter than its right one.

    Stays the same under scaling and re-encoding of most pictures (N. Krawetz, "Kind of Like That", 2013).
    """
    luma = np.round(frame_luma(frame) * 255).astype(np.uint8)
    cells = np.asarray(Image.fromarray(luma).resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (cells[:, :-1] > cells[:, 1:]).ravel()
    return np.packbits(bits).tobytes().hex()


def frame_luma(frame: Pixels) -> npt.NDArray[np.float32]:
    """Luma [H, W] in [0, 1] of one frame [H, W, 3], or of one that is luma already."""
    scaled = frame.astype(np.float32) / np.float32(255)
    return np.asarray(scaled @ REC_709 if frame.ndim == 3 else scaled, dtype=np.float32)


def laplacian_variance(luma: npt.NDArray[np.float32]) -> float:
    """Variance of the 4-neighbour Laplacian of luma [H, W]; 0 for pictures without an inside."""
    if min(luma.shape) < 3:
        return 0.0
    inside = luma[1:-1, 1:-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.var(around - 4 * inside))


def is_same(before: Pixels, after: Pixels) -> bool:
    """Whether two frames are equal up to `SAME_LEVELS` of coding noise."""
    return bool(np.abs(after.astype(np.int16) - before.astype(np.int16)).max() <= SAME_LEVELS)
