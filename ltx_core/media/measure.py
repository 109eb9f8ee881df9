"""Figures that say, without a reference, whether video or audio is hopeless or broken, and what kind of audio it is.

Luma is Rec. 709's, in [0, 1]. Frames are uint8 [n, H, W, 3] RGB or [n, H, W] luma. Sharpness depends on the size of
the frames, so compare it only between frames of one size.

Why so: docs/decisions/own_computations.md.
"""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets_spec.rows import AudioKind
from ltx_core.shapes import AUDIO_RATE

SILENCE_DB = -120.0
"""The level of digital silence, and of a clip without audio."""
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
    return float(np.mean([np.abs(after - before).mean() for before, after in pairwise(map(frame_luma, frames))]))


def loudness_db(waveform: npt.NDArray[np.float32] | None) -> float:
    """RMS level of audio [2, N] in dB of full scale; `SILENCE_DB` for none, and never below."""
    if waveform is None or waveform.size == 0:
        return SILENCE_DB
    power = float(np.mean(np.square(waveform, dtype=np.float64)))
    return max(10 * math.log10(power), SILENCE_DB) if power > 0 else SILENCE_DB


def perceptual_hash(frame: Pixels) -> str:
    """64-bit difference hash of one frame, 16 hex digits: whether each of 8x8 cells is brighter than its right one.

    Stays the same under scaling and re-encoding of most frames (N. Krawetz, "Kind of Like That", 2013).
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
    """Variance of the 4-neighbour Laplacian of luma [H, W]; 0 for frames without an inside."""
    if min(luma.shape) < 3:
        return 0.0
    inside = luma[1:-1, 1:-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.var(around - 4 * inside))


def is_same(before: Pixels, after: Pixels) -> bool:
    """Return whether two frames are equal up to `SAME_LEVELS` of coding noise."""
    return bool(np.abs(after.astype(np.int16) - before.astype(np.int16)).max() <= SAME_LEVELS)


SILENT_RMS_DB = -60.0
SILENT_PEAK = 0.01
"""-40 dBFS: a click in a quiet span is audio."""
WINDOW, HOP = 512, 256
"""32 ms windows every 16 ms: two periods of the lowest voice."""
PITCH_LAGS = (AUDIO_RATE // 400, AUDIO_RATE // 70)
"""Periods of voices between 400 and 70 Hz, in samples."""
VOICED_PERIODICITY = 0.5
VOICED_CROSSINGS = 0.25
"""Periodic, and with fewer sign changes a sample than a hiss."""
MIN_VOICED_FRACTION = 0.25
MIN_PAUSE_FRACTION = 0.2
MIN_PITCH_SPREAD = 0.03
"""Octaves between the quartiles of a pitch that is spoken. A steady tone has about none, wherever it begins."""

Floats = npt.NDArray[np.float32]


def audio_kind(waveform: Floats | None) -> AudioKind:
    """The kind of 16 kHz stereo audio [2, N]: `none` for None, else `silent`, `voiced` or `other`.

    `silent`: RMS under -60 dBFS and no peak over -40 dBFS. `voiced`: among the windows that are not quiet, at least a
    quarter are periodic at the pitch of a voice; the pitch moves; and at least a fifth of all windows have under half
    the mean energy, as speech has with its pauses and most music has not (Scheirer and Slaney, ICASSP 1997).
    """
    if waveform is None:
        return "none"
    if loudness_db(waveform) < SILENT_RMS_DB and (waveform.size == 0 or float(np.abs(waveform).max()) < SILENT_PEAK):
        return "silent"
    return "voiced" if _is_voiced(waveform.mean(axis=0)) else "other"


def _is_voiced(mono: Floats) -> bool:
    if len(mono) < 4 * WINDOW:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[::HOP]
    energy = np.square(windows).mean(axis=1)
    active = energy > max(float(energy.max()) * 10**-3.5, 10**-5.5)
    if not active.any():
        return False
    periodicity, pitch = _pitch(windows[active])
    crossings = (np.signbit(windows[active][:, 1:]) != np.signbit(windows[active][:, :-1])).mean(axis=1)
    voiced = (periodicity > VOICED_PERIODICITY) & (crossings < VOICED_CROSSINGS)
    pauses = float((energy < energy.mean() / 2).mean())
    if float(voiced.mean()) < MIN_VOICED_FRACTION or pauses < MIN_PAUSE_FRACTION:
        return False
    low, high = np.quantile(np.log2(pitch[voiced]), (0.25, 0.75))
    return float(high - low) > MIN_PITCH_SPREAD


def _pitch(windows: Floats) -> tuple[Floats, Floats]:
    """Normalised autocorrelation peak [n] of windows [n, WINDOW] and the frequency in Hz [n] it lies at."""
    shape = np.hanning(WINDOW).astype(np.float32)
    size = 2 * WINDOW
    spectrum = np.fft.rfft((windows - windows.mean(axis=1, keepdims=True)) * shape, size)
    lags = np.fft.irfft(np.abs(spectrum) ** 2, size)
    falloff = np.fft.irfft(np.abs(np.fft.rfft(shape, size)) ** 2, size)  # what the window's own shape takes away
    low, high = PITCH_LAGS
    peaks = lags[:, low:high] / np.maximum(lags[:, :1], 1e-12) * (falloff[0] / falloff[low:high])
    # Two periods fit as well as one: the shortest lag that is nearly as good as the best, and a peak, is the period.
    is_top = (peaks[:, 1:-1] >= peaks[:, :-2]) & (peaks[:, 1:-1] >= peaks[:, 2:])
    good = is_top & (peaks[:, 1:-1] > 0.9 * peaks.max(axis=1, keepdims=True))
    best = np.where(good.any(axis=1), good.argmax(axis=1) + 1, peaks.argmax(axis=1))
    return peaks.max(axis=1).astype(np.float32), (AUDIO_RATE / (best + low)).astype(np.float32)


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
