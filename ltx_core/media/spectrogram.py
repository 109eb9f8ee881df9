"""An image of audio, for people to look at where a video would have frames."""

import numpy as np
import numpy.typing as npt

PICTURED = (256, 128)
"""Width and height where nothing else decides them, multiples of 32."""
WINDOW = 1024
"""Samples of a column."""
RANGE_DB = 80.0
"""Below the loudest by so much is black."""
SILENCE = 1e-6


def spectrogram(audio: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.uint8]:
    """The spectrogram of audio [2, N] in [-1, 1]: uint8 [height, width, 3], time from left to right, frequency from
    bottom to top, and the two channels in red and in blue, so that what is in both is purple."""
    padded = np.pad(audio, ((0, 0), (0, max(WINDOW - audio.shape[1], 0))))
    starts = np.linspace(0, padded.shape[1] - WINDOW, width).round().astype(np.intp)
    pieces = padded[:, starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW).astype(np.float32)
    power = np.abs(np.fft.rfft(pieces, axis=-1))
    rows = np.linspace(power.shape[-1] - 1, 0, height).round().astype(np.intp)
    level = 20 * np.log10(np.maximum(power[:, :, rows], SILENCE))
    shown = np.clip(1 + (level - max(level.max(), -RANGE_DB / 2)) / RANGE_DB, 0, 1)  # silence stays black
    left, right = (255 * shown).astype(np.uint8).transpose(0, 2, 1)
    return np.stack([left, np.minimum(left, right) // 2, right], axis=-1)
