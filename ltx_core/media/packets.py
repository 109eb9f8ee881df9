"""The packets of a file: one pass over it that decodes nothing."""

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from ltx_core.media.container import demuxed

UNSTAMPED = -(2**63)
"""Stands for a time that the container does not give, as in ffmpeg."""

MOST_LEAD = 4
"""Steps by which encoders with pictures out of order are late."""


def _numbers() -> "array[int]":
    return array("q")


@dataclass
class Track:
    """The packets of one stream in the order they are stored; times in units of `time_base`, or `UNSTAMPED`."""

    kind: str
    time_base: Fraction
    pts: "array[int]" = field(default_factory=_numbers)
    dts: "array[int]" = field(default_factory=_numbers)
    durations: "array[int]" = field(default_factory=_numbers)
    sizes: "array[int]" = field(default_factory=_numbers)
    places: "array[int]" = field(default_factory=_numbers)
    """Byte of the file at which the packet, or what holds its beginning, is stored."""
    keys: bytearray = field(default_factory=bytearray)
    hidden: bytearray = field(default_factory=bytearray)
    """Not shown: outside the edit list, or not to be decoded since what it refers to is not there."""
    shifts: "array[int]" = field(default_factory=_numbers)
    """What is added to the packet's times, where the file's clock jumps; empty where it never does."""
    is_counted: bool = False
    """The container gives times of decoding alone, and pictures are stored in another order than they are shown in:
    the nth picture shown has the nth of these times. `pts` has them in that order, not each packet its own."""

    def __len__(self) -> int:
        return len(self.sizes)

    def add(self, packet: Any) -> None:
        self.pts.append(UNSTAMPED if packet.pts is None else packet.pts)
        self.dts.append(UNSTAMPED if packet.dts is None else packet.dts)
        self.durations.append(packet.duration or 0)
        self.sizes.append(packet.size)
        self.places.append(-1 if packet.pos is None else packet.pos)
        self.keys.append(packet.is_keyframe)
        self.hidden.append(packet.is_discard)

    def count(self, *, is_reordered: bool) -> None:
        """Give the pictures that are shown one after another the times of decoding one after another.

        A short gap after the very first is the encoder's delay, which ffmpeg's muxer leaves there, and no time.
        """
        self.is_counted = is_reordered
        times = sorted(self.dts)
        steps = sorted(later - earlier for earlier, later in pairwise(times))
        lead = times[1] - times[0] - steps[len(steps) // 2] if steps else 0
        lead = lead if 0 < lead <= MOST_LEAD * steps[len(steps) // 2] else 0
        self.pts = array("q", [*times[:1], *(time - lead for time in times[1:])])

    def shift(self, n: int) -> int:
        return self.shifts[n] if self.shifts else 0

    def shown(self) -> list[tuple[int | None, int]]:
        """Time on the continued clock and duration of each packet that is shown, as stored."""
        return [(self.stamp(n), self.durations[n]) for n in range(len(self)) if not self.hidden[n]]

    def stamp(self, n: int) -> int | None:
        """When packet `n` is shown, on the continued clock."""
        return None if self.pts[n] == UNSTAMPED else self.pts[n] + self.shift(n)

    def is_guessed(self, n: int) -> bool:
        """Whether ffmpeg made up the time of a packet of sound: it shares its place, and the stamp there, with others
        before it. Made up from the rate that the file began with, so counting samples is better."""
        return self.kind == "audio" and self.places[n] < 0

    def end(self) -> int:
        """When the last of the shown packets ends."""
        return max((stamp + length for stamp, length in self.shown() if stamp is not None), default=0)


@dataclass(frozen=True)
class Packets:
    """All packets of a file."""

    tracks: dict[int, Track]
    """By the stream's index."""
    order: "array[int]"
    """The stream's index of each packet, in the order they are stored."""


def read_packets(container: Any) -> Packets:
    """Read every packet of an opened file. Some hundred bytes of memory a packet.

    Raises:
        FFmpegError: what is stored cannot be read.
    """
    tracks = {s.index: Track(s.type, s.time_base) for s in container.streams if s.time_base}
    order = _numbers()
    for packet in demuxed(container, *(container.streams[index] for index in tracks)):
        if packet.size:
            tracks[packet.stream.index].add(packet)
            order.append(packet.stream.index)
    return Packets(tracks, order)
