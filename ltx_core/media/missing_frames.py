"""Frames of H.264 that a file lacks, which decoders make up from others and do not report.

The rule (ITU-R H.264, 7.4.3, `frame_num`). Every frame bears the number after that of the last one before it, in the
order they are decoded, that others refer to; two fields that are stored apart bear that of their frame. Where numbers
are left out and the file's times have a hole as well, something was lost. A hole alone is no loss, for cameras leave
frames out; a number alone is an encoder's whim. At a key frame, where recordings may be joined, numbers begin anew.
"""

from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from ltx_core.media.container import demuxed
from ltx_core.media.packets import Track

HOLE = 1.5
"""An interval of more than so many usual ones is a hole."""
REORDERED = 16
"""At most so many frames lie between where one is stored and where it is shown: H.264 holds no more back."""
SLICE, IDR_SLICE, PARAMETERS = 1, 5, 7
"""Kinds of units (table 7-1): a slice, one of a frame that refers to none before it, a sequence parameter set."""
HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})
"""Those whose parameter sets say which chroma they have."""
START = b"\0\0\1"
HEAD_BYTES = 1024
"""Read of a unit: more than a parameter set takes, and the numbers of a slice."""


class Numbering(NamedTuple):
    """The part of a sequence parameter set that is about numbers."""

    bits: int
    may_have_gaps: bool
    has_planes: bool
    """True if each slice says which of three separate colour planes it is of."""
    may_be_fields: bool


class Number(NamedTuple):
    """Of one frame, or one of its fields."""

    value: int
    is_referred_to: bool
    is_field: bool
    numbering: Numbering

    def follows(self, last: "Number") -> bool:
        """Return whether nothing is missing since `last`, which others refer to."""
        step = (self.value - last.value) % (1 << self.numbering.bits)
        return step == 1 or (step == 0 and self.is_field) or self.numbering.may_have_gaps


def lost_frame(container: Any, stream: Any, track: Track) -> float | None:
    """Container time in seconds about which a frame is missing; None if none is, or the codec does not tell.

    Reads the container, which is at its beginning, if the times of `track`, the stream's packets, have holes.

    Raises:
        FFmpegError: the file cannot be read.
    """
    holes = _holes(track) if stream.codec.canonical_name == "h264" else []
    if not holes:
        return None
    numbers, last = _Numbers(stream), None
    for n, packet in enumerate(packet for packet in demuxed(container, stream) if packet.size):
        number, stamp = numbers.of(bytes(packet)), track.stamp(n)
        if number is None or track.hidden[n]:
            last = None
            continue
        if last is not None and not track.keys[n] and not number.follows(last) and _is_in(holes, stamp):
            return float((stamp or 0) * track.time_base)
        last = number if number.is_referred_to else last
    return None


def _holes(track: Track) -> list[tuple[int, int]]:
    """When nothing is shown though something should be, each widened by as much as frames may be reordered."""
    stamps = sorted(stamp for stamp, _ in track.shown() if stamp is not None)
    usual = median([later - earlier for earlier, later in pairwise(stamps)] or [0])
    room = round(REORDERED * usual)
    return [(begin - room, end + room) for begin, end in pairwise(stamps) if end - begin > HOLE * usual]


def _is_in(spans: list[tuple[int, int]], stamp: int | None) -> bool:
    return stamp is not None and any(begin <= stamp <= end for begin, end in spans)


class _Numbers:
    """Reads the numbers of frames from packets, by the parameter set met last."""

    def __init__(self, stream: Any) -> None:
        header = bytes(stream.codec_context.extradata or b"")
        self._length_bytes = (header[4] & 3) + 1 if header[:1] == b"\1" and len(header) > 6 else 0
        """Of each unit's length before it; 0: units begin with start codes (annex B)."""
        self._numbering: Numbering | None = None
        for unit in _sets_in(header) if self._length_bytes else _units(header, 0):
            self._note(unit)

    def of(self, packet: bytes) -> Number | None:
        """That of the frame in a packet; None if there is none, or no parameter set yet."""
        for unit in _units(packet, self._length_bytes):
            self._note(unit)
            if unit[0] & 31 in (SLICE, IDR_SLICE):
                return None if self._numbering is None else _number(unit, self._numbering)
        return None

    def _note(self, unit: bytes) -> None:
        if unit[0] & 31 == PARAMETERS:
            self._numbering = _numbering(unit)


def _sets_in(header: bytes) -> Iterator[bytes]:
    """Sequence parameter sets of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
    at = 6
    for _ in range(header[5] & 31):
        size = int.from_bytes(header[at : at + 2], "big")
        yield header[at + 2 : at + 2 + size] or b"\0"
        at += 2 + size


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The beginning of each unit, at least one byte."""
    at = 0
    while at < len(data):
        if length_bytes:
            begin = at + length_bytes
            end = begin + int.from_bytes(data[at:begin], "big")
        else:
            found = data.find(START, at)
            begin = found + len(START) if found >= 0 else len(data)
            found = data.find(START, begin)
            end = found if found >= 0 else len(data)
        if data[begin:end]:
            yield data[begin : min(end, begin + HEAD_BYTES)]
        at = end


class _Bits:
    """Bits of a unit after its first byte, as clause 7.2 names them; beyond the end they are 0."""

    def __init__(self, unit: bytes) -> None:
        data = unit[1:].replace(b"\0\0\3", b"\0\0")  # 7.4.1: bytes that keep start codes out
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def u(self, count: int) -> int:
        """An unsigned number of so many bits."""
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1) if self._left >= 0 else 0

    def ue(self) -> int:
        """An unsigned Exp-Golomb number (9.1)."""
        zeros = 0
        while self._left > 0 and not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed one (9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -code // 2


def _numbering(unit: bytes) -> Numbering:
    """Clause 7.3.2.1.1."""
    bits, chroma, has_planes = _Bits(unit), 1, False
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    if profile in HIGH_PROFILES:
        chroma = bits.ue()
        has_planes = chroma == 3 and bool(bits.u(1))
        _pass_over(bits, 2)
        bits.u(1)
        if bits.u(1):
            for place in range(12 if chroma == 3 else 8):
                _pass_over_matrix(bits, 16 if place < 6 else 64)
    number_bits, order = bits.ue() + 4, bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        _pass_over(bits, 2)
        _pass_over(bits, min(bits.ue(), 255))
    bits.ue()
    may_have_gaps = bool(bits.u(1))
    _pass_over(bits, 2)
    return Numbering(number_bits, may_have_gaps, has_planes, may_be_fields=not bits.u(1))


def _pass_over(bits: _Bits, count: int) -> None:
    for _ in range(count):
        bits.ue()


def _pass_over_matrix(bits: _Bits, size: int) -> None:
    """Clause 7.3.2.1.1.1."""
    last = following = 8
    for _ in range(size if bits.u(1) else 0):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _number(unit: bytes, numbering: Numbering) -> Number:
    """Clause 7.3.3."""
    bits = _Bits(unit)
    _pass_over(bits, 3)
    if numbering.has_planes:
        bits.u(2)
    value = bits.u(numbering.bits)
    return Number(value, bool(unit[0] & 96), numbering.may_be_fields and bool(bits.u(1)), numbering)
