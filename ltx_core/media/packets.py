"""The packets of a file: one pass over it that decodes nothing; where its clock jumps, it is continued. And those of
one stream from some time on, in any container: found by its index, or by the list of its packets.

The rule. In containers that let their clock start again (`LOOSE`), the clock of a stream jumps where a
packet lies more than `BACK_SECONDS` before, or more than `AHEAD_SECONDS` after, the end of that stream's packet before
it; and at a key frame that is to be decoded before the frame stored before it. It is no jump but a pause if another
stream goes on meanwhile, so that its packets reach the later time. At a jump the next frame follows the last one at
once, and audio keeps its distance to the frames that were recorded with it. Shorter gaps stay as they are: nothing is
shown or heard anew in them. Containers with one clock for the whole file (MP4, Matroska) are believed, however long
their pauses are.
"""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from datasets_spec.quarantine import QuarantineReason
from ltx_core.media.container import demuxed, has_video, open_media, video_stream
from ltx_core.media.errors import MediaError

UNSTAMPED = -(2**63)
"""Stands for a time that the container does not give, as in ffmpeg."""

MOST_LEAD = 4
"""Steps by which encoders with frames out of order are late."""


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
    """Corrections of the packets' times, where the file's clock jumps; empty where it never does."""
    is_counted: bool = False
    """The container gives times of decoding alone, and frames are stored in another order than they are shown in:
    the nth frame shown has the nth of these times. `pts` has them in that order, not each packet its own."""

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
        """Give the frames that are shown one after another the times of decoding one after another.

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
        """Return whether ffmpeg made up the time of a packet of audio: it shares its place, and the stamp there, with
        others before it. Made up from the rate that the file began with, so counting samples is better."""
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


BACK_SECONDS = 0.25
"""Decoding times never run backwards in one recording; rounding and guessed times of unstamped audio do by less."""
AHEAD_SECONDS = 10.0
"""As ffmpeg's own `dts_delta_threshold`: lost packets and slow slides leave shorter gaps."""
ROUNDING_SECONDS = 0.002
TAIL_SECONDS = 2.0
"""Seconds in which packets from before a jump may be mixed with those after it."""


def continue_clock(packets: Packets, video: int | None) -> None:
    """Fill in the `shifts` of all tracks if the clock of a file jumps, and hide frames that a jump left without those
    they refer to. `video`: the index of the stream whose frames are to follow one another."""
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
            is_key_frame = track.kind == "video" and bool(track.keys[n])
            numbers.append(self._number_of(seconds, index, is_key_frame))
            self.newest[numbers[-1]] = max(seconds, self.newest[numbers[-1]])
            self._last[index], self._due[index] = seconds, seconds + float(track.durations[n] * track.time_base)
        self._began.setdefault(index, position)
        self._seen[index] = position

    def _number_of(self, seconds: float, index: int, is_key_frame: bool) -> int:
        if not self.newest:
            self._open(seconds)
        own = self.numbers[index][-1] if self.numbers[index] else len(self.newest) - 1
        if index not in self._due or (own == len(self.newest) - 1 and self._goes_on(seconds, index, is_key_frame)):
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

    def _goes_on(self, seconds: float, index: int, is_key_frame: bool) -> bool:
        if is_key_frame and seconds < self._last[index] - ROUNDING_SECONDS:
            return False
        return -BACK_SECONDS <= seconds - self._due[index] <= AHEAD_SECONDS

    def _is_tail(self, seconds: float, index: int) -> bool:
        """Return whether a packet stored after a jump follows the stream's last one from before it."""
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
        has_both = video is not None and number in spans[video] and any(n < number for n in spans[video])
        leading = [video] if video is not None and has_both else list(spans)
        begins = [spans[index][number][0] for index in leading if number in spans[index]]
        ends = [span[1] + shifts[n] for index in leading for n, span in spans[index].items() if n < number]
        shifts.append(max(ends) - min(begins) if begins and ends else shifts[-1])
    return shifts


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
    """Hide, after each jump, what comes before the next key frame or is shown before it."""
    for number in range(1, max(numbers, default=0) + 1):
        begin, end = bisect_left(numbers, number), bisect_left(numbers, number + 1)
        key = next((n for n in range(begin, end) if track.keys[n]), None)
        if key is None:
            continue
        for n in range(begin, end):
            before = track.pts[n] != UNSTAMPED and track.pts[n] < track.pts[key]
            track.hidden[n] |= n < key or before


def _decode_seconds(track: Track, n: int) -> float | None:
    """Of frames, only decoding times run forwards."""
    stamp = track.dts[n] if track.dts[n] != UNSTAMPED or track.kind == "video" else track.pts[n]
    return None if stamp == UNSTAMPED else float(stamp * track.time_base)


LOOSE = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v", "ogg", "flv", "avi"})
UNORDERED = frozenset({"avi", "m4v"})
"""Containers that give no times of showing, so that frames which are stored in another order are counted."""
"""Containers without an index, or whose clock may start again, or that stamp only some packets: ffmpeg's times after a
seek are guesses in them. Their packets are listed once, and found again by place and size."""
SEARCHED_PACKETS = 256
"""Number of packets after a seek that are compared with the wanted one before the file is read from its beginning."""
PLACES_BEFORE = 2
"""Number of earlier packets to go back, for parsers to find where packets begin."""
FILES_KEPT = 4
"""Lists of packets that a process keeps; a long film's takes some 50 MB."""


def packets_of(path: Path) -> Packets:
    """All packets of a file on one clock; read once while the file stays as it is.

    Raises:
        MediaError: the file cannot be opened; see `open_media`.
        FFmpegError: it cannot be read to its end.
    """
    stat = path.stat()
    return _listed(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=FILES_KEPT)
def _listed(path: Path, _size: int, _mtime_ns: int) -> Packets:
    with open_media(path) as container:
        packets = read_packets(container)
        if container.format.name in UNORDERED:
            _count_frames(container, packets)
        if is_loose(container):
            continue_clock(packets, video_stream(container, path).index if has_video(container) else None)
        return packets


def _count_frames(container: Any, packets: Packets) -> None:
    for stream in container.streams.video:
        track, decoder = packets.tracks.get(stream.index), stream.codec_context
        if track is None or decoder is None or UNSTAMPED in track.dts:
            continue
        track.count(is_reordered=bool(decoder.has_b_frames))


def is_loose(container: Any) -> bool:
    """Return whether the container is one of `LOOSE`."""
    return container.format.name in LOOSE


def listed_packets(container: Any, stream: Any, path: Path, seconds: float | None = None) -> Iterator[Any]:
    """Packets of a stream, on the continued clock, then the empty one that flushes; found without an index.

    From the start; or from the last packet that decoding can begin at and that is shown not after container time
    `seconds`. Nothing is kept. Frames whose references were lost at a jump are left out.

    Raises:
        MediaError: DECODE_ERROR, the file changed meanwhile.
        FFmpegError: it cannot be read.
    """
    track = packets_of(path).tracks[stream.index]
    first = 0 if seconds is None else _start(track, seconds)
    for n, packet in _numbered(container, stream, path, track, _placed(track, first)):
        if packet.size:
            if n < first or track.hidden[n]:
                continue
            packet.pts = None if track.is_guessed(n) or track.is_counted else track.stamp(n)
            packet.dts = None if track.dts[n] == UNSTAMPED else track.dts[n] + track.shift(n)
        yield packet


def key_seconds(path: Path, stream: Any, seconds: float) -> float | None:
    """The container time of the packet from which `listed_packets` starts; None where that is the file's beginning."""
    track = packets_of(path).tracks[stream.index]
    first = _start(track, seconds)
    stamp = track.stamp(first) if first else None
    return None if stamp is None else float(stamp * track.time_base)


def _start(track: Track, seconds: float) -> int:
    """Number of the packet to start from: the latest key packet that has a time, not after `seconds`. Frames that are
    counted are counted from the first."""
    if track.is_counted:
        return 0
    latest, best = UNSTAMPED, 0
    wanted = seconds / track.time_base
    for n, pts in enumerate(track.pts):
        usable = pts != UNSTAMPED and track.keys[n] and not track.hidden[n] and not track.is_guessed(n)
        if usable and latest <= pts + track.shift(n) <= wanted:
            latest, best = pts + track.shift(n), n
    return best


def _placed(track: Track, first: int) -> int:
    """The packet that is looked for: the latest up to `first` that is the first of a place."""
    while first and (track.places[first] < 0 or track.places[first] == track.places[first - 1]):
        first -= 1
    return first


def _numbered(container: Any, stream: Any, path: Path, track: Track, first: int) -> Iterator[tuple[int, Any]]:
    """Packets from number `first` on with their numbers, each seen to be the listed one by its size."""
    n = first
    for packet in _sought(container, stream, track, first) if first else demuxed(container, stream):
        if packet.size != (track.sizes[n] if n < len(track) else 0):
            break
        yield n, packet
        if not packet.size:
            return
        n += 1
    yield from _read_through(path, stream.index, track, n)


def _sought(container: Any, stream: Any, track: Track, first: int) -> Iterator[Any]:
    """Packets from number `first` on, by a seek to its place; none if the seek led elsewhere."""
    try:
        container.seek(_place_before(track, first), unsupported_byte_offset=True)
        packets = demuxed(container, stream)
        for _ in range(SEARCHED_PACKETS):
            packet = next(packets, None)
            if packet is None:
                return
            if packet.size == track.sizes[first] and packet.pos == track.places[first]:
                yield packet
                yield from packets
                return
    except av.FFmpegError:
        return  # not seekable; the caller reads from the start, where true damage shows again


def _place_before(track: Track, first: int) -> int:
    """A place to seek to from which packet `first` comes out whole: what is found first lacks its beginning."""
    places: set[int] = set()
    for n in range(first - 1, -1, -1):
        if 0 <= track.places[n] < track.places[first]:
            places.add(track.places[n])
            if len(places) == PLACES_BEFORE:
                return track.places[n]
    return 0


def _read_through(path: Path, index: int, track: Track, first: int) -> Iterator[tuple[int, Any]]:
    """Packets from number `first` on, read from the file's beginning; those before are passed over."""
    with open_media(path) as container:
        for n, packet in enumerate(demuxed(container, container.streams[index])):
            if packet.size != (track.sizes[n] if n < len(track) else 0):
                raise MediaError(
                    QuarantineReason.DECODE_ERROR,
                    f"{path} gave other packets when it was read again; a file that stays as it is is wanted. Run "
                    f"again once nothing writes to it.",
                )
            if n >= first:
                yield n, packet
