"""Packets of one stream from some time on, in any container: found by its index, or by a list of its packets."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import av

from datasets_spec.quarantine import QuarantineReason
from ltx_core.media.container import demuxed, has_video, open_media, video_stream
from ltx_core.media.errors import MediaError
from ltx_core.media.packets import UNSTAMPED, Packets, Track, continue_clock, read_packets

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
