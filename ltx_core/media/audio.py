"""The audio of a span of a file: 16 kHz stereo, from any channel layout, on the same clock as its frames.

The rule. Audio is unbroken as long as its samples, counted, keep up with the times of its pieces. It has a gap, or
jumps back, where a piece lies more than `GAP_SECONDS` beside the count and the pieces around it agree: those of up to
`WINDOW_SECONDS` after it lie, by their median, that far from those before it. Times that merely wobble about the count,
as capture cards' do, are no gaps; a run of such pieces lies where their mean is. More than `MOST_WOBBLE_SECONDS` is a
gap at once. Times that slide away from the count in a run, by `LEAST_SLIDE_SECONDS` or more and more than they
wobble, are of a clock that goes at another rate: the samples are taken to be at that rate.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from datasets_spec.quarantine import QuarantineReason
from ltx_core.media.container import audio_stream, decode_errors, has_video, open_media, preferred_audio, sought
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import first_frame_seconds
from ltx_core.media.packets import is_loose, listed_packets
from ltx_core.shapes import AUDIO_RATE, audio_samples

HALF_POWER = math.sqrt(0.5)
WEIGHTS: dict[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (HALF_POWER, HALF_POWER),
    "LFE": (0.0, 0.0),
    "LFE2": (0.0, 0.0),
    "SL": (HALF_POWER, 0.0),
    "SR": (0.0, HALF_POWER),
    "BL": (HALF_POWER, 0.0),
    "BR": (0.0, HALF_POWER),
    "BC": (0.5, 0.5),
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
    "WL": (HALF_POWER, 0.0),
    "WR": (0.0, HALF_POWER),
    "TFL": (HALF_POWER, 0.0),
    "TFR": (0.0, HALF_POWER),
    "TBL": (HALF_POWER, 0.0),
    "TBR": (0.0, HALF_POWER),
    "DL": (1.0, 0.0),
    "DR": (0.0, 1.0),
}
"""Fraction of a channel in (left, right), by ffmpeg's channel names. The low-frequency channel is dropped."""
UNNAMED: dict[int, tuple[str, ...]] = {
    1: ("FC",),
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""Layouts of channels without names, by their number: the order of WAVE and AAC files."""


def stereo_matrix(channels: Sequence[str]) -> npt.NDArray[np.float32]:
    """The matrix [2, channels] from a layout to stereo.

    Scaled so that its larger row sums to 1: full scale in every channel is full scale out, so nothing clips, whatever
    the audio. Mono comes out in both channels at its own level, stereo unchanged, 5.1 7.7 dB quieter than its fronts.

    Raises:
        ValueError: the layout has channels that no weight is known for, such as ambisonics.
    """
    names = tuple(channels)
    if not set(names) <= set(WEIGHTS):
        names = UNNAMED.get(len(names), ()) if set(names) <= {"NONE", "UNK", "UNSD"} else ()
    if not names or set(names) <= {"LFE", "LFE2"}:
        raise ValueError(f"no down-mix to stereo is known for the channels {list(channels)}")
    matrix = np.array([WEIGHTS[name] for name in names], dtype=np.float64).T
    return (matrix / matrix.sum(axis=1).max()).astype(np.float32)


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

Waveform = npt.NDArray[np.float32]
Seconds = npt.NDArray[np.float64]


class Piece(NamedTuple):
    """Stereo audio [2, n] at `rate` with the time that its container gives it, in seconds."""

    time: float
    rate: int
    waveform: Waveform


def unbroken(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Join pieces to unbroken ones."""
    for rate, alike in groupby(pieces, key=attrgetter("rate")):
        yield from _runs(list(alike), rate)


def _runs(pieces: Sequence[Piece], rate: int) -> Iterator[Piece]:
    lengths = [piece.waveform.shape[1] for piece in pieces]
    counted = np.cumsum([0, *lengths[:-1]]) / rate
    late = np.array([piece.time for piece in pieces]) - counted
    for begin, end in pairwise([0, *gaps(late, counted), len(pieces)]):
        waveform = np.concatenate([piece.waveform for piece in pieces[begin:end]], axis=1)
        yield _placed(waveform, rate, late[begin:end], counted[begin:end])


def _placed(waveform: Waveform, rate: int, late: Seconds, counted: Seconds) -> Piece:
    """A run where its times lie about the count: on their mean, or on a line if they slide."""
    seconds = float(counted[-1] - counted[0])
    if seconds > SLIDING_SECONDS:
        slope, start = np.polyfit(counted - counted[0], late, 1)
        if abs(slope) * seconds > max(LEAST_SLIDE_SECONDS, 2 * float(late.std())):
            return Piece(float(start + counted[0]), round(rate / (1 + slope)), waveform)
    own, usual = float(late[0]), float(late.mean())
    return Piece((own if abs(own - usual) <= ROUNDING_SECONDS else usual) + float(counted[0]), rate, waveform)


def gaps(late: Seconds, counted: Seconds) -> list[int]:
    """Numbers of the pieces before which there is a gap or a jump back. `late`: by how much each piece's time is after
    the count of samples, `counted`, which begins at 0; both in seconds."""
    found = [0]
    for n in range(1, len(late)):
        first = int(np.searchsorted(counted, counted[n] - WINDOW_SECONDS - 1e-9))
        before = _even(late[max(found[-1], first) : n], from_end=True)
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


def _even(late: Seconds, *, from_end: bool) -> Seconds:
    """An even number of them, or one: the median of times that alternate is then their middle."""
    if len(late) % 2 == 0 or len(late) == 1:
        return late
    return late[1:] if from_end else late[:-1]


PREROLL_SECONDS = 1.0
"""Decoded before the span, so that codecs which overlap blocks (AAC, Opus) have settled, and resampling filters too."""
SEEK_FROM_SECONDS = 5.0
UNSTATED_PADDING = {("avi", "mp3float"): 1105, ("avi", "mp3"): 1105, ("avi", "aac"): 1024}
"""Samples by which decoded audio is late in containers that do not say so: what every encoder of it puts before the
audio, at least (of MP3, 576 by LAME and its like and 529 by any decoder)."""


class Span(NamedTuple):
    """Seconds from `start` to `end`."""

    start: float
    end: float


def decode_audio(path: Path, start_seconds: float, seconds: float, *, rate: int = AUDIO_RATE) -> Waveform | None:
    """The audio of a span: float32 [2, audio_samples(seconds, rate)] in about [-1, 1]; None without an audio stream.

    Zero of the clock is the first video frame; in a file of audio alone, the container's. Where the file has no audio
    (the stream starts later, ends earlier, has a gap) there is silence. Any layout is mixed to stereo as
    `stereo_matrix` says.

    Raises:
        MediaError: DECODE_ERROR, there is an audio stream that cannot be decoded; or the file itself is unusable.
    """
    found = audio_and_gaps(path, start_seconds, seconds, rate=rate)
    return None if found is None else found[0]


decode_sound = decode_audio
"""Its earlier name, for the modules that are not renamed yet."""


def audio_and_gaps(
    path: Path, start_seconds: float, seconds: float, *, rate: int = AUDIO_RATE
) -> tuple[Waveform, list[Span]] | None:
    """As `decode_audio`, and where in it the file has no audio, in order, counted from the span's start.

    Raises:
        MediaError: as `decode_audio` says.
    """
    with open_media(path) as container:
        stream = preferred_audio(container)
        if stream is None:
            return None
        has_frame, padding = has_video(container), _padding(container, stream)
    begin = (first_frame_seconds(path) if has_frame else 0.0) + start_seconds
    out = np.zeros((2, audio_samples(seconds, rate)), dtype=np.float32)
    is_gap = np.ones(out.shape[1], dtype=bool)
    begin += padding
    for run in unbroken(_pieces(_audio_frames(path, begin), begin, seconds + PREROLL_SECONDS, path)):
        is_gap[_place(out, _resampled(run, rate), round(run.time * rate))] = False
    edges = np.flatnonzero(np.diff(is_gap, prepend=False, append=False)) / rate
    return out, [Span(*map(float, pair)) for pair in edges.reshape(-1, 2)]


def has_audio(path: Path) -> bool:
    """Return whether the file has an audio stream; nothing is decoded.

    Raises:
        MediaError: the file is missing, cut off, or no media.
    """
    with open_media(path) as container:
        return bool(container.streams.audio)


def to_channels(waveform: Waveform, channels: int) -> Waveform:
    """Stereo [2, N] as wanted: 2, itself; 1, the mean of both channels in both, for the audio VAE takes two.

    Raises:
        ValueError: `channels` is neither 1 nor 2.
    """
    if channels == 2:
        return waveform
    if channels == 1:
        return np.repeat(waveform.mean(axis=0, keepdims=True, dtype=np.float32), 2, axis=0)
    raise ValueError(f"channels is {channels}; 1 (down-mixed, then duplicated) or 2 is wanted")


def _padding(container: Any, stream: Any) -> float:
    """Seconds by which decoded audio is late."""
    decoder = stream.codec_context
    if decoder is None or not decoder.sample_rate:
        return 0.0
    return UNSTATED_PADDING.get((container.format.name, decoder.name), 0) / float(decoder.sample_rate)


def _audio_frames(path: Path, begin: float) -> Iterator[Any]:
    """Decoded audio frames from the start, or from about a second before container time `begin`."""
    with open_media(path) as container, decode_errors(path, "audio"):
        stream = audio_stream(container, path)
        if stream is None:
            return
        if begin <= SEEK_FROM_SECONDS:
            yield from _listed(container, stream, path) if is_loose(container) else container.decode(stream)
            return
        frames = None if is_loose(container) else _seek(container, stream, begin - PREROLL_SECONDS)
        if frames is not None:
            yield from frames
            return
    with open_media(path) as container, decode_errors(path, "audio"):  # no usable index, or a late start
        for frame in _listed(container, audio_stream(container, path), path, begin - PREROLL_SECONDS):
            if frame.pts is None or float(frame.pts * frame.time_base) >= begin - 2 * PREROLL_SECONDS:
                yield frame


def _listed(container: Any, stream: Any, path: Path, seconds: float | None = None) -> Iterator[Any]:
    is_first = True
    for packet in listed_packets(container, stream, path, seconds):
        for frame in stream.decode(packet):
            if is_first and frame.pts is None:
                frame.pts = frame.dts
            is_first = False
            yield frame


def _seek(container: Any, stream: Any, seconds: float) -> Iterator[Any] | None:
    """Frames from container time `seconds` or before; None if the container led elsewhere."""
    latest = seconds + PREROLL_SECONDS / 2
    return sought(container, stream, seconds, lambda first: float(first.pts * first.time_base) > latest)


def _pieces(frames: Iterable[Any], begin: float, seconds: float, path: Path) -> Iterator[Piece]:
    """Decoded frames until `seconds` after container time `begin`; one without a time follows the one before."""
    end = 0.0
    for frame in frames:
        time = end if frame.pts is None else float(frame.pts * frame.time_base) - begin
        if time > seconds:
            return
        yield Piece(time, frame.sample_rate, _stereo(frame, path))
        end = time + frame.samples / frame.sample_rate


def _stereo(frame: Any, path: Path) -> Waveform:
    """One decoded frame, of any sample format and layout, as stereo [2, n]."""
    names = [channel.name for channel in frame.layout.channels]
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(names)).T
    if samples.dtype == np.uint8:
        samples = samples.astype(np.float32) / 128 - 1
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples.astype(np.float64) / -float(np.iinfo(samples.dtype).min)
    try:
        matrix = stereo_matrix(names)
    except ValueError as error:
        raise MediaError(
            QuarantineReason.DECODE_ERROR, f"the audio of {path}: {error}. Convert it to stereo."
        ) from error
    return matrix @ samples.astype(np.float32)


def _resampled(run: Piece, rate: int) -> Waveform:
    """The run at `rate`; its first sample stays where it was in time."""
    if run.rate == rate:
        return run.waveform
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(run.waveform), format="fltp", layout="stereo")
    frame.sample_rate = run.rate
    return np.concatenate([f.to_ndarray() for f in (*resampler.resample(frame), *resampler.resample(None))], axis=1)


def _place(out: Waveform, waveform: Waveform, position: int) -> slice:
    """Write `waveform` into `out` from sample `position`, which may lie outside on either side; gives what was
    written."""
    first, last = max(position, 0), min(position + waveform.shape[1], out.shape[1])
    if first >= last:
        return slice(0, 0)
    out[:, first:last] = waveform[:, first - position : last - position]
    return slice(first, last)
