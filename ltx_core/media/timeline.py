"""Decoded frames with their times on the file's clock, from the start or from somewhere inside."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import Ground
from ltx_core.media.container import decode_errors, open_media, sought, video_stream
from ltx_core.media.display import ColorTags, TimedFrame, alpha_decoder, color_tags, display_of, tag
from ltx_core.media.errors import MediaError
from ltx_core.media.find import is_image
from ltx_core.media.image import image_frames
from ltx_core.media.reading import is_loose, key_seconds, listed_packets, packets_of

SEEK_FROM_SECONDS = 3.0
"""Up to here decoding from the start is as quick as seeking."""
SEEK_MARGINS_SECONDS = (0.5, 10.0)
"""Seconds before the wanted time at which the search for a keyframe begins. Containers seek by decoding time, which
runs ahead of presentation time by a few frames, so seeking to the very time may land on a keyframe shown after it."""


def timed_frames(path: Path, start_seconds: float = 0.0, ground: Ground = "black") -> Iterator[TimedFrame]:
    """Frames in the order they are shown; the first is the file's first, or one on screen not after `start_seconds`.

    Where the file's clock jumps, as it does in joined recordings, it is continued: see `clock`.

    An image file is read from its first frame on, wherever the wanted one is, and is laid on `ground`; of a video, that
    is left to `as_displayed`.

    Raises:
        MediaError: the file cannot be opened or decoded; see `open_media`, `video_stream`, `image_frames`.
    """
    if is_image(path):
        yield from image_frames(path, ground)
        return
    with open_media(path) as container, decode_errors(path, "video"):
        stream = video_stream(container, path)
        if is_loose(container) or alpha_decoder(stream) is not None:
            yield from _timed_listed(container, stream, path, start_seconds)
            return
        frames = container.decode(stream)
        first = _first(frames, path)
        if start_seconds <= SEEK_FROM_SECONDS or first.pts is None:
            yield from _timed(chain([first], frames), stream, path, _zero(first, stream, path))
            return
        origin = float(first.pts * stream.time_base)
        for margin in SEEK_MARGINS_SECONDS:
            found = _seek(container, stream, path, origin, start_seconds, margin)
            if found is not None:
                yield from found
                return
    with open_media(path) as container, decode_errors(path, "video"):  # no usable index
        yield from _timed_listed(container, video_stream(container, path), path, start_seconds)


def first_frame_seconds(path: Path) -> float:
    """The container's time of the first frame shown: zero of the file's clock.

    Raises:
        MediaError: the file cannot be opened or its first frame decoded.
    """
    stat = path.stat()
    return _first_frame_seconds(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _first_frame_seconds(path: Path, _size: int, _mtime_ns: int) -> float:
    with open_media(path) as container, decode_errors(path, "video"):
        stream = video_stream(container, path)
        frames = _listed_frames(container, stream, path) if is_loose(container) else container.decode(stream)
        return _zero(_first(frames, path), stream, path)


def _stated_colors(path: Path) -> ColorTags:
    stat = path.stat()
    return _container_colors(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _container_colors(path: Path, _size: int, _mtime_ns: int) -> ColorTags:
    """Read before anything is decoded: decoders write what they find over it."""
    with open_media(path) as container:
        return color_tags(video_stream(container, path).codec_context)


def _timed_listed(container: Any, stream: Any, path: Path, start_seconds: float) -> Iterator[TimedFrame]:
    """As `timed_frames`, by the list of the file's packets."""
    if start_seconds > SEEK_FROM_SECONDS:
        origin = first_frame_seconds(path)
        begin = key_seconds(path, stream, origin + start_seconds)
        if begin is not None:
            frames = _listed_frames(container, stream, path, origin + start_seconds)
            # Frames before the key frame refer to others before it, which are not decoded.
            decodable = (f for f in frames if f.pts is None or float(f.pts * stream.time_base) >= begin)
            yield from _timed(decodable, stream, path, origin)
            return
    frames = _listed_frames(container, stream, path)
    first = _first(frames, path)
    yield from _timed(chain([first], frames), stream, path, _zero(first, stream, path))


def _listed_frames(container: Any, stream: Any, path: Path, seconds: float | None = None) -> Iterator[Any]:
    track, number, decoder = packets_of(path).tracks[stream.index], 0, alpha_decoder(stream) or stream
    for packet in listed_packets(container, stream, path, seconds):
        for frame in decoder.decode(packet):
            if track.is_counted:
                frame.pts, number = track.stamp(min(number, len(track) - 1)), number + 1
            yield frame


def _zero(first: Any, stream: Any, path: Path) -> float:
    """The container's time of a file's first frame; one without a stamp, and those like it that follow, are counted
    back from the first that has one."""
    stamp = _stamp(first)
    if stamp is not None:
        return float(stamp * stream.time_base)
    stamps = [pts for pts, _ in packets_of(path).tracks[stream.index].shown()]
    known = [pts for pts in stamps if pts is not None]
    if not known:
        return 0.0
    # Loose containers lack stamps anywhere; of others, frames from before the first stamp may be stored after it.
    unstamped = stamps.index(known[0]) if is_loose(stream.container) else len(stamps) - len(known)
    return float(min(known) * stream.time_base) - unstamped * frame_step(stream)


def clock_tolerance(time_base: Any) -> float:
    """Seconds by which a stored time may lie beside the true one: Matroska rounds to milliseconds, for one."""
    return 1e-4 + min(float(time_base), 1e-3)


def frame_step(stream: Any) -> float:
    """Seconds a frame, as the container says; 1/25 if it says nothing."""
    rate = stream.average_rate or stream.guessed_rate or 25
    return float(1 / rate)


def _first(frames: Iterator[Any], path: Path) -> Any:
    first = next(frames, None)
    if first is None:
        raise MediaError(
            QuarantineReason.DECODE_ERROR,
            f"the video stream of {path} gives no frame; at least one is wanted. Convert it again, or remove it.",
        )
    return first


def _seek(
    container: Any, stream: Any, path: Path, origin: float, start_seconds: float, margin: float
) -> Iterator[TimedFrame] | None:
    """Frames from a keyframe before `start_seconds`; None if the container led elsewhere."""

    def is_late(first: Any) -> bool:
        return float(first.pts * stream.time_base) - origin > start_seconds

    frames = sought(container, stream, origin + start_seconds - margin, is_late)
    return None if frames is None else _timed(frames, stream, path, origin)


def _timed(frames: Iterable[Any], stream: Any, path: Path, origin: float) -> Iterator[TimedFrame]:
    """Times that never run backwards; frames without a stamp follow the one before by the mean interval."""
    step, tolerance, stated = frame_step(stream), clock_tolerance(stream.time_base), _stated_colors(path)
    time, display, stored = -step, None, (0, 0)
    for frame in frames:
        stamp = _stamp(frame)
        seconds = None if stamp is None else float(stamp * stream.time_base)
        time = time + step if seconds is None else max(time, seconds - origin)
        if frame.is_corrupt:
            raise MediaError(
                QuarantineReason.DECODE_ERROR,
                f"the frame of {path} at {time:.3f} s is damaged; a stream without errors is wanted. Convert it again "
                f"from its source, or remove it.",
            )
        length = float(frame.duration * stream.time_base) if frame.duration else step
        tag(frame, stated)
        if display is None or stored != (frame.width, frame.height):  # joined recordings change their size
            display, stored = display_of(frame, stream.sample_aspect_ratio), (frame.width, frame.height)
        yield TimedFrame(time, time + length, tolerance, display, frame)


def _stamp(frame: Any) -> int | None:
    return frame.pts if frame.pts is not None else frame.dts
