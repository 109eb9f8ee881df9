"""Decoded frames with their times on the file's clock, from the start or from somewhere inside."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av

from datasets_spec.quarantine import QuarantineReason
from ltx_core.media.container import decode_errors, open_media, video_stream
from ltx_core.media.errors import MediaError
from ltx_core.media.orientation import Display, display_of

SEEKLESS = frozenset({"mpeg", "mpegvideo", "ogg", "h264", "hevc"})
"""Containers that stamp only some packets, so that times after a seek are guesses; they are decoded from the start."""
SEEK_FROM_SECONDS = 3.0
"""Up to here decoding from the start is as quick as seeking."""
SEEK_MARGINS_SECONDS = (0.5, 10.0)
"""How far before the wanted time to look for a keyframe. Containers seek by decoding time, which runs ahead of
presentation time by a few frames, so seeking to the very time may land on a keyframe shown after it."""


class TimedFrame(NamedTuple):
    """One decoded frame; `time`, `end` and their `tolerance` in seconds, from when the file's first frame is shown."""

    time: float
    end: float
    tolerance: float
    display: Display
    frame: Any


def timed_frames(path: Path, start_seconds: float = 0.0) -> Iterator[TimedFrame]:
    """Frames in the order they are shown; the first is the file's first, or one on screen not after `start_seconds`.

    Raises:
        MediaError: the file cannot be opened or decoded; see `open_media`, `video_stream`.
    """
    with open_media(path) as container, decode_errors(path, "video"):
        stream = video_stream(container, path)
        frames = container.decode(stream)
        first = _first(frames, path)
        if start_seconds <= SEEK_FROM_SECONDS or first.pts is None or container.format.name in SEEKLESS:
            yield from _timed(chain([first], frames), stream, path)
            return
        origin = float(first.pts * stream.time_base)
        for margin in SEEK_MARGINS_SECONDS:
            found = _seek(container, stream, path, origin, start_seconds, margin)
            if found is not None:
                yield from found
                return
    yield from timed_frames(path)  # no usable index: decode from the start, which is slower and just as right


def first_frame_seconds(path: Path) -> float:
    """The container's time of the first frame shown: zero of the file's clock.

    Raises:
        MediaError: the file cannot be opened or its first frame decoded.
    """
    with open_media(path) as container, decode_errors(path, "video"):
        stream = video_stream(container, path)
        first = _first(container.decode(stream), path)
        stamp = _stamp(first)
        return 0.0 if stamp is None else float(stamp * stream.time_base)


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
    try:
        container.seek(int((origin + start_seconds - margin) / stream.time_base), stream=stream)
        frames = container.decode(stream)
        first = next(frames, None)
    except av.FFmpegError:
        return None  # not seekable; the caller decodes from the start, where true damage shows again
    if first is None or first.pts is None or float(first.pts * stream.time_base) - origin > start_seconds:
        return None
    return _timed(chain([first], frames), stream, path, origin)


def _timed(frames: Iterable[Any], stream: Any, path: Path, origin: float | None = None) -> Iterator[TimedFrame]:
    """Times that never run backwards; frames without a stamp follow the one before by the mean interval."""
    step, tolerance = frame_step(stream), clock_tolerance(stream.time_base)
    time, display = -step, None
    for frame in frames:
        stamp = _stamp(frame)
        seconds = None if stamp is None else float(stamp * stream.time_base)
        if origin is None:
            origin = 0.0 if seconds is None else seconds
        time = time + step if seconds is None else max(time, seconds - origin)
        if frame.is_corrupt:
            raise MediaError(
                QuarantineReason.DECODE_ERROR,
                f"the frame of {path} at {time:.3f} s is damaged; a stream without errors is wanted. Convert it again "
                f"from its source, or remove it.",
            )
        length = float(frame.duration * stream.time_base) if frame.duration else step
        display = display or display_of(frame, stream.sample_aspect_ratio)
        yield TimedFrame(time, time + length, tolerance, display, frame)


def _stamp(frame: Any) -> int | None:
    return frame.pts if frame.pts is not None else frame.dts
