"""Where pieces of decoded sound lie on the clock, whose times are rounded, wobble, drift or have gaps.

The rule. Sound is unbroken as long as its samples, counted, keep up with the times of its pieces. It has a gap, or
jumps back, where a piece lies more than `GAP_SECONDS` beside the count and the pieces around it agree: those of up to
`WINDOW_SECONDS` after it lie, by their median, that far from those before it. Times that merely wobble about the count,
as capture cards' do, are no gaps; a run of such pieces lies where their mean is. More than `MOST_WOBBLE_SECONDS` is a
gap at once. Times that slide away from the count in a run, by `LEAST_SLIDE_SECONDS` or more and more than they
wobble, are of a clock that goes at another rate: the samples are taken to be at that rate.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

GAP_SECONDS = 0.015
"""Less is rounding."""
WINDOW_SECONDS = 0.4
MOST_WOBBLE_SECONDS = 0.1
LEAST_SLIDE_SECONDS = 0.004
"""By which times must slide in a run, and by twice their standard deviation, for their clock to be another."""
SLIDING_SECONDS = 1.0
"""A shorter run is not long enough to tell sliding from wobbling."""
MANY_PIECES = 6
"""Where times wobble, so many on either side must agree on a gap."""
ROUNDING_SECONDS = 0.002
"""A run whose first piece lies within this of all pieces' mean begins at its own time."""

Sound = npt.NDArray[np.float32]
Seconds = npt.NDArray[np.float64]


class Piece(NamedTuple):
    """Stereo sound [2, n] at `rate` with the time that its container gives it, in seconds."""

    time: float
    rate: int
    sound: Sound


class Run(NamedTuple):
    """Unbroken stereo sound [2, n] at `rate`, from `start` seconds on."""

    start: float
    rate: int
    sound: Sound


def unbroken(pieces: Iterable[Piece]) -> Iterator[Run]:
    """Join pieces to runs."""
    for rate, alike in groupby(pieces, key=attrgetter("rate")):
        yield from _runs(list(alike), rate)


def _runs(pieces: Sequence[Piece], rate: int) -> Iterator[Run]:
    lengths = [piece.sound.shape[1] for piece in pieces]
    counted = np.cumsum([0, *lengths[:-1]]) / rate
    late = np.array([piece.time for piece in pieces]) - counted
    for begin, end in pairwise([0, *gaps(late, counted), len(pieces)]):
        sound = np.concatenate([piece.sound for piece in pieces[begin:end]], axis=1)
        yield _placed(sound, rate, late[begin:end], counted[begin:end])


def _placed(sound: Sound, rate: int, late: Seconds, counted: Seconds) -> Run:
    """A run where its times lie about the count: on their mean, or on a line if they slide."""
    seconds = float(counted[-1] - counted[0])
    if seconds > SLIDING_SECONDS:
        slope, start = np.polyfit(counted - counted[0], late, 1)
        if abs(slope) * seconds > max(LEAST_SLIDE_SECONDS, 2 * float(late.std())):
            return Run(float(start + counted[0]), round(rate / (1 + slope)), sound)
    own, usual = float(late[0]), float(late.mean())
    return Run((own if abs(own - usual) <= ROUNDING_SECONDS else usual) + float(counted[0]), rate, sound)


def gaps(late: Seconds, counted: Seconds) -> list[int]:
    """Numbers of the pieces before which there is a gap or a jump back. `late`: by how much each piece's time is after
    the count of samples, `counted`, which begins at 0; both in seconds."""
    found = [0]
    for n in range(1, len(late)):
        before = _even(late[max(found[-1], _first_within(counted, n)) : n], from_end=True)
        if abs(late[n] - np.median(before)) <= GAP_SECONDS:
            continue
        after = _even(late[n : int(np.searchsorted(counted, counted[n] + WINDOW_SECONDS))], from_end=False)
        if _is_gap(before, late[n], after):
            found.append(n)
    return found[1:]


def _is_gap(before: Seconds, own: float, after: Seconds) -> bool:
    usual = float(np.median(before))
    if abs(own - usual) > MOST_WOBBLE_SECONDS:
        return True
    if abs(float(np.median(after)) - usual) <= GAP_SECONDS:
        return False
    is_clean = float(np.ptp(before)) <= GAP_SECONDS and float(np.ptp(after)) <= GAP_SECONDS
    return is_clean or min(len(before), len(after)) >= MANY_PIECES


def _first_within(counted: Seconds, n: int) -> int:
    return int(np.searchsorted(counted, counted[n] - WINDOW_SECONDS - 1e-9))


def _even(late: Seconds, *, from_end: bool) -> Seconds:
    """An even number of them, or one: the median of times that alternate is then their middle."""
    if len(late) % 2 == 0 or len(late) == 1:
        return late
    return late[1:] if from_end else late[:-1]
