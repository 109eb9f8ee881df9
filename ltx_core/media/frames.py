"""The frames of a file at given times, deinterlaced: what was on screen then, whatever the file's own frame rate."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from datasets_spec.rows import Ground, Scan
from ltx_core.media.container import open_media, video_stream
from ltx_core.media.display import TimedFrame, as_displayed
from ltx_core.media.errors import EndsEarlyError
from ltx_core.media.timeline import timed_frames

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
