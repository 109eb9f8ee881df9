"""Joined recordings and streams that were interrupted: where a file's clock jumps, it is continued.

The rule. In containers that let their clock start again (`LOOSE` in `reading`), the clock of a stream jumps where a
packet lies more than `BACK_SECONDS` before, or more than `AHEAD_SECONDS` after, the end of that stream's packet before
it; and at a key picture that is to be decoded before the picture stored before it. It is no jump but a pause if another
stream goes on meanwhile, so that its packets reach the later time. At a jump the next picture follows the last one at
once, and sound keeps its distance to the pictures that were recorded with it. Shorter gaps stay as they are: nothing is
shown or heard anew in them. Containers with one clock for the whole file (MP4, Matroska) are believed, however long
their pauses are.
"""

from bisect import bisect_left
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise

from ltx_core.media.packets import UNSTAMPED, Packets, Track

BACK_SECONDS = 0.25
"""Decoding times never run backwards in one recording; rounding and guessed times of unstamped sound do by less."""
AHEAD_SECONDS = 10.0
"""As ffmpeg's own `dts_delta_threshold`: lost packets and slow slides leave shorter gaps."""
ROUNDING_SECONDS = 0.002
TAIL_SECONDS = 2.0
"""How long packets from before a jump may be stored among those after it."""


def continue_clock(packets: Packets, video: int | None) -> None:
    """Fill in the `shifts` of all tracks if the clock of a file jumps, and hide pictures that a jump left without those
    they refer to. `video`: the index of the stream whose pictures are to follow one another."""
    segments = _Segments(packets)
    if segments.count == 1:
        return
    shifts = _shifts(packets, segments, video)
    for index, track in packets.tracks.items():
        track.shifts.extend(round(shifts[number] / track.time_base) for number in segments.numbers[index])
    if video is not None:
        _hide_orphans(packets.tracks[video], segments.numbers[video])


class _Segments:
    """Numbers of the unbroken pieces that packets belong to."""

    def __init__(self, packets: Packets) -> None:
        self.numbers: dict[int, list[int]] = defaultdict(list)
        """For each stream, that of each of its packets."""
        self.oldest: list[float] = []
        self.newest: list[float] = []
        """For each piece, the first time and the latest seen in it, in seconds on its own clock."""
        self._last: dict[int, float] = {}
        self._due: dict[int, float] = {}
        """For each stream, when its newest packet began and ends."""
        self._seen: dict[int, int] = {}
        """For each stream, how many packets of all streams came before its newest one."""
        self._began: dict[int, int] = {}
        for position, index in enumerate(packets.order):
            self._add(packets.tracks[index], index, position)

    @property
    def count(self) -> int:
        return max(len(self.newest), 1)

    def _add(self, track: Track, index: int, position: int) -> None:
        numbers = self.numbers[index]
        n = len(numbers)
        seconds = _decode_seconds(track, n)
        if seconds is None:
            numbers.append(numbers[-1] if numbers else max(len(self.newest) - 1, 0))
        else:
            is_key_picture = track.kind == "video" and bool(track.keys[n])
            numbers.append(self._number_of(seconds, index, is_key_picture))
            self.newest[numbers[-1]] = max(seconds, self.newest[numbers[-1]])
            self._last[index], self._due[index] = seconds, seconds + float(track.durations[n] * track.time_base)
        self._began.setdefault(index, position)
        self._seen[index] = position

    def _number_of(self, seconds: float, index: int, is_key_picture: bool) -> int:
        if not self.newest:
            self._open(seconds)
        own = self.numbers[index][-1] if self.numbers[index] else len(self.newest) - 1
        if index not in self._due or (own == len(self.newest) - 1 and self._goes_on(seconds, index, is_key_picture)):
            return own
        if own < len(self.newest) - 1 and self._is_tail(seconds, index):
            return own
        oldest = own if seconds > self._due[index] else own + 1  # running backwards, it cannot be where it was
        for number in range(len(self.newest) - 1, oldest - 1, -1):
            if abs(seconds - self.newest[number]) <= AHEAD_SECONDS:
                return number
        self._open(seconds)
        self._move_beginners(index)
        return len(self.newest) - 1

    def _goes_on(self, seconds: float, index: int, is_key_picture: bool) -> bool:
        if is_key_picture and seconds < self._last[index] - ROUNDING_SECONDS:
            return False
        return -BACK_SECONDS <= seconds - self._due[index] <= AHEAD_SECONDS

    def _is_tail(self, seconds: float, index: int) -> bool:
        """Whether a packet stored after a jump follows the stream's last one from before it."""
        is_early = self.newest[-1] - self.oldest[-1] < TAIL_SECONDS
        return is_early and abs(seconds - self._due[index]) <= ROUNDING_SECONDS

    def _open(self, seconds: float) -> None:
        self.oldest.append(seconds)
        self.newest.append(seconds)

    def _move_beginners(self, index: int) -> None:
        """Streams that began after the last packet before the jump belong to what comes after it."""
        for other, began in self._began.items():
            if other != index and began > self._seen[index]:
                self.numbers[other] = [len(self.newest) - 1] * len(self.numbers[other])
                self.newest[-1] = max(self.newest[-1], self._due.get(other, self.newest[-1]))


def _shifts(packets: Packets, segments: _Segments, video: int | None) -> list[Fraction]:
    """Seconds to add to the times of each piece."""
    spans = {index: _spans(track, segments.numbers[index]) for index, track in packets.tracks.items()}
    shifts = [Fraction(0)]
    for number in range(1, segments.count):
        leading = [video] if video is not None and _has_both(spans[video], number) else list(spans)
        begins = [spans[index][number][0] for index in leading if number in spans[index]]
        ends = [span[1] + shifts[n] for index in leading for n, span in spans[index].items() if n < number]
        shifts.append(max(ends) - min(begins) if begins and ends else shifts[-1])
    return shifts


def _has_both(spans: dict[int, tuple[Fraction, Fraction]], number: int) -> bool:
    return number in spans and any(n < number for n in spans)


def _spans(track: Track, numbers: list[int]) -> dict[int, tuple[Fraction, Fraction]]:
    """First time and end of a stream's packets in each piece, in seconds on the piece's own clock."""
    step = _usual_duration(track)
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    for n, number in enumerate(numbers):
        stamp = track.pts[n] if track.pts[n] != UNSTAMPED else track.dts[n]
        if stamp != UNSTAMPED and not track.hidden[n]:
            begins[number] = min(stamp, begins.get(number, stamp))
            ends[number] = max(stamp + (track.durations[n] or step), ends.get(number, stamp))
    return {n: (begins[n] * track.time_base, ends[n] * track.time_base) for n in begins}


def _usual_duration(track: Track) -> int:
    """Median of the stated durations; where none is stated, of the intervals of decoding times."""
    known = [duration for duration in track.durations if duration]
    known = known or [later - earlier for earlier, later in pairwise(track.dts) if earlier != UNSTAMPED < later]
    return sorted(known)[len(known) // 2] if known else 0


def _hide_orphans(track: Track, numbers: list[int]) -> None:
    """Hide, after each jump, what comes before the next key picture or is shown before it."""
    for number in range(1, max(numbers, default=0) + 1):
        begin, end = bisect_left(numbers, number), bisect_left(numbers, number + 1)
        key = next((n for n in range(begin, end) if track.keys[n]), None)
        if key is None:
            continue
        for n in range(begin, end):
            before = track.pts[n] != UNSTAMPED and track.pts[n] < track.pts[key]
            track.hidden[n] |= n < key or before


def _decode_seconds(track: Track, n: int) -> float | None:
    """Of pictures, only decoding times run forwards."""
    stamp = track.dts[n] if track.dts[n] != UNSTAMPED or track.kind == "video" else track.pts[n]
    return None if stamp == UNSTAMPED else float(stamp * track.time_base)
