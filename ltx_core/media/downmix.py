"""Any channel layout to stereo, by the weights of Recommendation ITU-R BS.775-3, table 2."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

HALF_POWER = math.sqrt(0.5)
WEIGHTS: dict[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (HALF_POWER, HALF_POWER),
    "LFE": (0.0, 0.0),
    "LFE2": (0.0, 0.0),
    "SL": (HALF_POWER, 0.0),
    "SR": (0.0, HALF_POWER),
    "BL": (HALF_POWER, 0.0),
    "BR": (0.0, HALF_POWER),
    "BC": (0.5, 0.5),
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
    "WL": (HALF_POWER, 0.0),
    "WR": (0.0, HALF_POWER),
    "TFL": (HALF_POWER, 0.0),
    "TFR": (0.0, HALF_POWER),
    "TBL": (HALF_POWER, 0.0),
    "TBR": (0.0, HALF_POWER),
    "DL": (1.0, 0.0),
    "DR": (0.0, 1.0),
}
"""Share of a channel in (left, right), by ffmpeg's channel names. The low-frequency channel is dropped."""
UNNAMED: dict[int, tuple[str, ...]] = {
    1: ("FC",),
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""What channels without names are, by their number: the order of WAVE and AAC files."""


def stereo_matrix(channels: Sequence[str]) -> npt.NDArray[np.float32]:
    """The matrix [2, channels] from a layout to stereo.

    Scaled so that its larger row sums to 1: full scale in every channel is full scale out, so nothing clips, whatever
    the sound. Mono comes out in both channels at its own level, stereo unchanged, 5.1 7.7 dB quieter than its fronts.

    Raises:
        ValueError: the layout has channels that no weight is known for, such as ambisonics.
    """
    names = tuple(channels)
    if not set(names) <= set(WEIGHTS):
        names = UNNAMED.get(len(names), ()) if set(names) <= {"NONE", "UNK", "UNSD"} else ()
    if not names or set(names) <= {"LFE", "LFE2"}:
        raise ValueError(f"no down-mix to stereo is known for the channels {list(channels)}")
    matrix = np.array([WEIGHTS[name] for name in names], dtype=np.float64).T
    return (matrix / matrix.sum(axis=1).max()).astype(np.float32)
