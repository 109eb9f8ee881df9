"""What kind of sound a span has. A label for people and for the loss mask, not a speech recogniser."""

import numpy as np
import numpy.typing as npt

from datasets_spec.rows import AudioKind
from ltx_core.media.measure import loudness_db
from ltx_core.shapes import AUDIO_RATE

SILENT_RMS_DB = -60.0
SILENT_PEAK = 0.01
"""-40 dBFS: a click in a quiet span is a sound."""
WINDOW, HOP = 512, 256
"""32 ms windows every 16 ms: two periods of the lowest voice."""
PITCH_LAGS = (AUDIO_RATE // 400, AUDIO_RATE // 70)
"""Periods of voices between 400 and 70 Hz, in samples."""
VOICED_PERIODICITY = 0.5
VOICED_CROSSINGS = 0.25
"""Periodic, and with fewer sign changes a sample than a hiss."""
MIN_VOICED_SHARE = 0.25
MIN_PAUSE_SHARE = 0.2
MIN_PITCH_SPREAD = 0.03
"""Octaves between the quartiles of a pitch that is spoken. A steady tone has about none, wherever it begins."""

Floats = npt.NDArray[np.float32]


def audio_kind(sound: Floats | None) -> AudioKind:
    """The kind of 16 kHz stereo sound [2, N]: `none` for None, else `silent`, `voiced` or `other`.

    `silent`: RMS under -60 dBFS and no peak over -40 dBFS. `voiced`: among the windows that are not quiet, at least a
    quarter are periodic at the pitch of a voice; the pitch moves; and at least a fifth of all windows have under half
    the mean energy, as speech has with its pauses and most music has not (Scheirer and Slaney, ICASSP 1997).
    """
    if sound is None:
        return "none"
    if loudness_db(sound) < SILENT_RMS_DB and (sound.size == 0 or float(np.abs(sound).max()) < SILENT_PEAK):
        return "silent"
    return "voiced" if _is_voiced(sound.mean(axis=0)) else "other"


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
    if float(voiced.mean()) < MIN_VOICED_SHARE or pauses < MIN_PAUSE_SHARE:
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
