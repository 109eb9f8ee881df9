"""The frames of a file: with their times on its clock, from somewhere on; or, deinterlaced, those that were on screen
at some times, whatever the file's own frame rate.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import chain, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import Ground, Scan
from ltx_core.media.container import decode_errors, open_media, sought, video_stream
from ltx_core.media.display import ColorTags, TimedFrame, alpha_decoder, as_displayed, color_tags, display_of, tag
from ltx_core.media.errors import EndsEarlyError, MediaError
from ltx_core.media.find import is_image
from ltx_core.media.image import image_frames
from ltx_core.media.packets import is_loose, key_seconds, listed_packets, packets_of

SEEK_FROM_SECONDS = 3.0
"""Up to here decoding from the start is as quick as seeking."""
SEEK_MARGINS_SECONDS = (0.5, 10.0)
"""Seconds before the wanted time at which the search for a keyframe begins. Containers seek by decoding time, which
runs ahead of presentation time by a few frames, so seeking to the very time may land on a keyframe shown after it."""


def timed_frames(path: Path, start_seconds: float = 0.0, ground: Ground = "black") -> Iterator[TimedFrame]:
    """Frames in the order they are shown; the first is the file's first, or one on screen not after `start_seconds`.

    Where the file's clock jumps, as it does in joined recordings, it is continued: see `packets`.

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


Resize = Callable[[int, int], tuple[int, int]]
"""From displayed (width, height) to the wanted (width, height)."""
HOLD_SECONDS = 0.25
"""Seconds that the last frame may stand past its end; beyond, the file is shorter than its packets said."""


def decode_frames(
    path: Path,
    times: Sequence[float],
    *,
    resize: Resize | None = None,
    luma: bool = False,
    scan: Scan = "progressive",
    ground: Ground = "black",
) -> Iterator[npt.NDArray[np.uint8]]:
    """One uint8 [H, W, 3] RGB frame, as displayed, for each time; with `luma`, [H, W].

    The frame at time t is the last frame shown at or before t, so the same seconds pass whatever the file's rate,
    constant or not. `times` are seconds since the file's first frame was shown, not decreasing. The file is read once,
    forward, from the keyframe before the first time. `scan`: how the file is scanned, if not progressively; then its
    frames are put together from fields first. `ground` is seen where the footage is transparent. A frame asked for
    twice is the same array: do not write to it.

    Raises:
        MediaError: the file cannot be opened or decoded, or ends more than `HOLD_SECONDS` before a time.
        ValueError: `times` decrease.
    """
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("times decrease; frames are decoded forward, so sort them")
    if not times:
        return
    scaler = VideoReformatter()
    for timed, count in _on_screen(whole_frames(path, max(times[0], 0.0), scan, ground), times, path):
        displayed = (timed.display.width, timed.display.height)
        size = displayed if resize is None else resize(*displayed)
        shown = as_displayed(timed.frame, timed.display, size, scaler=scaler, luma=luma, ground=ground)
        for _ in range(count):
            yield shown


def _on_screen(frames: Iterator[TimedFrame], times: Sequence[float], path: Path) -> Iterator[tuple[TimedFrame, int]]:
    """Frames that are on screen at some time, each with how many of `times` fall to it."""
    current = next(frames)
    done = 0
    for upcoming in frames:
        count = 0
        while done + count < len(times) and times[done + count] + upcoming.tolerance < upcoming.time:
            count += 1
        if count:
            yield current, count
            done += count
        if done == len(times):
            return
        current = upcoming
    if times[-1] > current.end + HOLD_SECONDS:
        raise EndsEarlyError(path, current.end, times[-1])
    yield current, len(times) - done


RUN_IN_SECONDS = 0.5
"""Decoded before the first wanted frame: filters look at the frames around each."""
CYCLE, KEPT = 5, 4
"""Of five telecined frames one is a repetition: film's 24 frames a second were spread over 60 fields."""
TELECINE_RATES = (Fraction(30000, 1001), Fraction(30))
STEP = Fraction(1, 25)
"""Between the frames that a filter is given; it never sees the file's own times."""


class Filter:
    """A chain of ffmpeg's video filters, for frames of one size and format."""

    def __init__(self, frame: Any, chain: str) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        source = self._graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base={STEP}:pixel_aspect=1/1:"
            f"frame_rate={1 / STEP}:colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
        nodes = [self._graph.add(*step.partition("=")[::2]) for step in chain.split(",")]
        self._graph.link_nodes(source, *nodes, self._graph.add("buffersink")).configure()
        self._count = 0

    def put(self, frame: Any) -> list[Any]:
        """Give it a frame and take what has come out since."""
        frame.pts, frame.time_base = self._count, STEP
        self._count += 1
        self._graph.vpush(frame)
        return self._made()

    def end(self) -> list[Any]:
        """Take what was held back."""
        self._graph.vpush(None)
        return self._made()

    def _made(self) -> list[Any]:
        made = []
        while True:
            try:
                made.append(self._graph.vpull())
            except (BlockingIOError, av.EOFError):
                return made


def whole_frames(path: Path, start_seconds: float, scan: Scan, ground: Ground = "black") -> Iterator[TimedFrame]:
    """`timed_frames` of a file that is scanned so; frames of a progressive file are untouched.

    Interlaced: each frame's first field, the lines between made from its neighbours (`bwdif`), so that the number of
    frames and their times stay. Telecined: fields are matched to film's frames and the repetition in each five is
    dropped (`fieldmatch`, `decimate`); what fits no field is deinterlaced; the four left share the time of the five.

    Raises:
        MediaError: the file cannot be opened or decoded.
    """
    if scan == "progressive":
        yield from timed_frames(path, start_seconds, ground)
        return
    frames = timed_frames(path, max(start_seconds - RUN_IN_SECONDS, 0.0))
    method, parity = scan.split("_")
    if method == "telecined":
        yield from _film(frames, parity, _telecine_step(path))
    else:
        yield from _deinterlaced(frames, f"bwdif=mode=send_frame:parity={parity}:deint=all")


def _deinterlaced(frames: Iterable[TimedFrame], chain: str) -> Iterator[TimedFrame]:
    waiting: deque[TimedFrame] = deque()

    def noted() -> Iterator[TimedFrame]:
        for timed in frames:
            waiting.append(timed)
            yield timed

    for made in _filtered(noted(), chain):
        yield waiting.popleft()._replace(frame=made)


def _telecine_step(path: Path) -> float:
    """Seconds a frame of telecined film: a file's own durations may be rounded to milliseconds."""
    with open_media(path) as container:
        stream = video_stream(container, path)
        stated = float(stream.average_rate or stream.guessed_rate or TELECINE_RATES[0])
    return float(1 / min(TELECINE_RATES, key=lambda rate: abs(rate - stated)))


def _film(frames: Iterable[TimedFrame], parity: str, frame_step: float) -> Iterator[TimedFrame]:
    chain = f"fieldmatch=order={parity}:combmatch=full,bwdif=mode=send_frame:parity={parity}:deint=interlaced,decimate"
    for _, run in groupby(_cycles(frames, frame_step), key=itemgetter(0)):
        first = next(run)[1]
        step = frame_step * CYCLE / KEPT
        for n, made in enumerate(_filtered(itertools.chain([first], (timed for _, timed in run)), chain)):
            time = first.time + n * step
            yield first._replace(time=time, end=time + step, frame=made)


def _cycles(frames: Iterable[TimedFrame], step: float) -> Iterator[tuple[int, TimedFrame]]:
    """Frames without a gap between them, each with the number of its run.

    A run begins at a multiple of five frames from the file's start, so that the same cycles come out wherever decoding
    starts; frames before one are left out.
    """
    run, is_inside, expected = 0, False, 0
    for timed in frames:
        index = round(timed.time / step)
        is_inside = is_inside and index == expected
        if not is_inside and index % CYCLE == 0:
            run, is_inside = run + 1, True
        expected = index + 1
        if is_inside:
            yield run, timed


def _filtered(frames: Iterable[TimedFrame], chain: str) -> Iterator[Any]:
    """The chain's frames, with a filter of its own for each size and format that the frames have."""
    for _, alike in groupby(frames, key=lambda t: (t.frame.width, t.frame.height, t.frame.format.name)):
        first = next(alike)
        made = Filter(first.frame, chain)
        for timed in itertools.chain([first], alike):
            yield from made.put(timed.frame)
        yield from made.end()
