"""When things happen in the miniature footage: what the pictures show and the sounds play at the same moment."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

BOUNCE_PERIOD_SECONDS = 0.55
SWING_PERIOD_SECONDS = 1.0
"""From one side to the other and back."""
CLACK_PERIOD_SECONDS = 0.4
TURN_PERIOD_SECONDS = 1.6
SYLLABLE_SECONDS = 0.3

BUBBLE_STARTS = (0.0, 0.25, 0.45, 0.7, 0.95, 1.2, 1.45)
"""Share of a bubble's way, in seconds, at which each bubble leaves the floor."""
FORMANTS_HZ = ((730.0, 1090.0), (270.0, 2290.0), (300.0, 870.0), (530.0, 1840.0))
"""First two resonances of a, i, u, e (Peterson and Barney 1952), sung in turn by the face."""


def roll_clicks(seconds: float) -> list[float]:
    """The rolling ball meets a joint in the floor at a third and at two thirds of its way."""
    return [seconds / 3, 2 * seconds / 3]


def repeated(period_seconds: float, offset_seconds: float = 0.0) -> Callable[[float], list[float]]:
    """Times of something that happens every `period_seconds`, first after `offset_seconds`, while the clip lasts."""

    def times(seconds: float) -> list[float]:
        return [float(t) for t in np.arange(offset_seconds, seconds, period_seconds)]

    return times


bounces = repeated(BOUNCE_PERIOD_SECONDS)
"""The ball touches the floor."""
ticks = repeated(SWING_PERIOD_SECONDS / 2, SWING_PERIOD_SECONDS / 4)
"""The pendulum is at either end."""
clacks = repeated(CLACK_PERIOD_SECONDS, CLACK_PERIOD_SECONDS / 2)
"""A wheel of the train crosses a joint."""


def bubble_starts(seconds: float) -> list[float]:
    """When each bubble leaves the floor."""
    return [start for start in BUBBLE_STARTS if start < seconds]


def mouth_opening(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the mouth is open, 0 to 1: shut between syllables, and after every fourth for as long as one."""
    beat = times / SYLLABLE_SECONDS
    rests = np.floor(beat) % 5 == 4
    return np.where(rests, 0.0, np.sin(np.pi * (beat % 1)) ** 2)
