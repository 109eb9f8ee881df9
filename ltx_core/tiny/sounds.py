"""Audio of the miniature footage: synthetic sounds that happen together with what the scenes show.

A sound is float32 [2, N], left and right, within [-1, 1]. Levels are those of ordinary footage, about -30 to -15 dBFS.
"""

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ltx_core.errors import ConfigError

BOUNCE_PERIOD_SECONDS = 0.55
SWING_PERIOD_SECONDS = 1.0
"""From one side to the other and back."""
CLACK_PERIOD_SECONDS = 0.4
TURN_PERIOD_SECONDS = 1.6
SYLLABLE_SECONDS = 0.3

BUBBLE_STARTS = (0.0, 0.25, 0.45, 0.7, 0.95, 1.2, 1.45)
"""Fraction of a bubble's way, in seconds, at which each bubble leaves the floor."""
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
    """Return how far the mouth is open, 0 to 1: shut between syllables, and after every fourth for as long as one."""
    beat = times / SYLLABLE_SECONDS
    rests = np.floor(beat) % 5 == 4
    return np.where(rests, 0.0, np.sin(np.pi * (beat % 1)) ** 2)


Wave = NDArray[np.float64]
"""[N], one channel."""
Stereo = NDArray[np.float32]
LAYOUTS = {"mono": 1, "stereo": 2, "5.1": 6}
"""Channels of the layouts that the footage uses."""


def play(name: str, seconds: float, rate: int) -> Stereo:
    """The audio of a whole clip of `seconds` at `rate` samples per second: float32 [2, round(seconds * rate)].

    Args:
        name: one of `AUDIO_BY_NAME`.
    """
    times = np.arange(round(seconds * rate)) / rate
    return np.clip(AUDIO_BY_NAME[name](times, seconds), -1, 1).astype(np.float32)


def spread(stereo: Stereo, layout: str) -> NDArray[np.float32]:
    """The same audio over the channels of `layout`: float32 [channels, N], in ffmpeg's channel order.

    Raises:
        ConfigError: `layout` is none of `LAYOUTS`.
    """
    left, right = stereo
    if layout == "mono":
        return ((left + right) / 2)[None]
    if layout == "stereo":
        return stereo
    if layout == "5.1":
        centre, low = (left + right) / 2, np.zeros_like(left)
        return np.stack([left, right, centre, low, 0.4 * left, 0.4 * right])
    raise ConfigError(f"audio layout is {layout!r}; the miniature footage has {', '.join(LAYOUTS)}")


def tone(times: Wave, hertz: float | Wave) -> Wave:
    """A sine; with an array of frequencies, one that glides through them."""
    if isinstance(hertz, np.ndarray):
        step = times[1] - times[0] if len(times) > 1 else 0.0
        return np.sin(2 * np.pi * np.cumsum(hertz) * step)
    return np.sin(2 * np.pi * hertz * times)


def noise(times: Wave, name: str, smooth: int = 1) -> Wave:
    """White noise of unit peak, always the same for a name; `smooth` averages over samples, which dulls it."""
    samples = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(len(times) + smooth - 1)
    dulled = np.convolve(samples, np.ones(smooth) / smooth, mode="valid") if smooth > 1 else samples
    return dulled / np.max(np.abs(dulled))


def strikes(times: Wave, starts: list[float], hertz: float, decay_seconds: float) -> Wave:
    """A struck tone at every start, dying away."""
    wave = np.zeros_like(times)
    for start in starts:
        age = times - start
        wave += np.where(age >= 0, np.exp(-np.maximum(age, 0) / decay_seconds) * np.sin(2 * np.pi * hertz * age), 0.0)
    return wave


def pan(wave: Wave, place: float | Wave) -> Wave:
    """Place a wave between left (0) and right (1) at equal power: [2, N]."""
    angle = np.pi / 2 * np.clip(place, 0, 1)
    return np.stack([wave * np.cos(angle), wave * np.sin(angle)])


def hum_and_clicks(times: Wave, seconds: float) -> Wave:
    """A hum that moves from left to right with the ball, and a click at each joint."""
    hum = 0.12 * tone(times, 90.0) + 0.05 * tone(times, 180.0)
    return pan(hum + 0.5 * strikes(times, roll_clicks(seconds), 1800.0, 0.012), times / seconds)


def thuds(times: Wave, seconds: float) -> Wave:
    """A thud at each bounce."""
    starts = bounces(seconds)
    return pan(0.5 * strikes(times, starts, 140.0, 0.06) + 0.15 * strikes(times, starts, 900.0, 0.01), 0.5)


def whirr(times: Wave, seconds: float) -> Wave:
    """A motor, louder twice a turn."""
    turn = 2 * np.pi * times / TURN_PERIOD_SECONDS
    buzz = sum(tone(times, 110.0 * k) / k for k in (1, 2, 3, 5))
    return pan(0.14 * buzz * (1 + 0.4 * np.cos(2 * turn)), 0.5 + 0.4 * np.cos(turn))


def blubs(times: Wave, seconds: float) -> Wave:
    """A rising blip as each bubble leaves, over faint water noise."""
    wave = 0.05 * noise(times, "water", smooth=24)
    for i, start in enumerate(bubble_starts(seconds)):
        age = np.maximum(times - start, 0)
        pitch = (300 + 60 * i) * (1 + 4 * age)
        wave += np.where(times >= start, 0.35 * np.exp(-age / 0.07) * np.sin(2 * np.pi * pitch * age), 0.0)
    return pan(wave, 0.5)


def wind(times: Wave, seconds: float) -> Wave:
    """Dull noise in gusts, different on both sides."""
    gusts = 0.6 + 0.4 * np.sin(2 * np.pi * times / 1.3)
    return np.stack([0.5 * noise(times, side, smooth=40) * gusts for side in ("left wind", "right wind")])


def rising_sweep(times: Wave, seconds: float) -> Wave:
    """A tone that rises by three octaves."""
    return pan(0.2 * tone(times, 150 * 2 ** (3 * times / seconds)), 0.5)


def voice(times: Wave, seconds: float) -> Wave:
    """A buzz at speech pitch, its harmonics weighted by two resonances that change with each syllable."""
    pitch = 120 + 12 * np.sin(2 * np.pi * 2.1 * times)
    vowel = np.array(FORMANTS_HZ)[(times / SYLLABLE_SECONDS).astype(int) % len(FORMANTS_HZ)]
    wave = np.zeros_like(times)
    for harmonic in range(1, 24):
        hertz = pitch * harmonic
        weight = sum(1 / (1 + ((hertz - vowel[:, i]) / 110) ** 2) for i in range(2))
        wave += (weight + 0.05) / harmonic**0.5 * tone(times, hertz)
    return pan(0.22 * wave * mouth_opening(times), 0.5)


def ticking(times: Wave, seconds: float) -> Wave:
    """A tick at either end of the swing, on that side."""
    starts = ticks(seconds)
    left, right = (strikes(times, starts[first::2], 2200.0, 0.02) for first in (1, 0))
    return 0.5 * np.stack([left + 0.3 * right, right + 0.3 * left]) + 0.01 * noise(times, "room", smooth=8)


def hiss(times: Wave, seconds: float) -> Wave:
    """Even white noise, different on both sides."""
    return 0.3 * np.stack([noise(times, side) for side in ("left rain", "right rain")])


def fluttering(times: Wave, seconds: float) -> Wave:
    """Noise chopped eleven times a second."""
    flap = np.maximum(np.sin(2 * np.pi * 11 * times), 0) ** 2
    return pan(0.45 * noise(times, "cloth", smooth=6) * flap, 0.5 + 0.25 * np.sin(3 * times))


def birds(times: Wave, seconds: float) -> Wave:
    """A trilled chirp, twice a second, on the right."""
    chirp = np.maximum(np.sin(2 * np.pi * times / 0.45), 0) ** 4
    return pan(0.25 * chirp * tone(times, 2600 + 500 * np.sin(2 * np.pi * 17 * times)), 0.7)


def fog_horn(times: Wave, seconds: float) -> Wave:
    """A deep horn that swells once a turn."""
    swell = np.clip(np.sin(2 * np.pi * times / TURN_PERIOD_SECONDS), 0, 1)
    horn = tone(times, 95.0) + 0.5 * tone(times, 190.0) + 0.3 * tone(times, 285.0)
    return pan(0.18 * horn * (0.2 + 0.8 * swell), 0.5)


def train_clacks(times: Wave, seconds: float) -> Wave:
    """Double clacks over rolling noise, moving from right to left."""
    starts = [start + gap for start in clacks(seconds) for gap in (0.0, 0.09)]
    wave = 0.2 * noise(times, "wheels", smooth=30) + 0.4 * strikes(times, starts, 420.0, 0.02)
    return pan(wave, 1 - times / seconds)


def crickets(times: Wave, seconds: float) -> Wave:
    """A high tone in short pulses."""
    return pan(0.2 * tone(times, 3800.0) * (np.sin(2 * np.pi * 14 * times) > 0.2), 0.4)


def silence(times: Wave, seconds: float) -> Wave:
    """A stream in which nothing is heard."""
    return np.zeros((2, len(times)))


def four_sounds(times: Wave, seconds: float) -> Wave:
    """Four sounds, a quarter of the time each."""
    quarter = seconds / 4
    parts = np.array_split(times, 4)
    makers = (hum_and_clicks, birds, blubs, whirr)
    return np.concatenate([make(part - part[0], quarter) for make, part in zip(makers, parts, strict=True)], axis=1)


AUDIO_BY_NAME: dict[str, Callable[[Wave, float], Wave]] = {
    make.__name__: make
    for make in (
        hum_and_clicks,
        thuds,
        whirr,
        blubs,
        wind,
        rising_sweep,
        voice,
        ticking,
        hiss,
        fluttering,
        birds,
        fog_horn,
        train_clacks,
        crickets,
        silence,
        four_sounds,
    )
}
"""Every sound by its name."""
