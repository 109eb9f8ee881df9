"""The sound of a span of a file: 16 kHz stereo on the same clock as its frames."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from datasets_spec.quarantine import QuarantineReason
from ltx_core.media.container import audio_stream, decode_errors, has_video, open_media, preferred_audio
from ltx_core.media.downmix import stereo_matrix
from ltx_core.media.errors import MediaError
from ltx_core.media.reading import is_loose, listed_packets
from ltx_core.media.sound_clock import Piece, Run, Sound, unbroken
from ltx_core.media.timeline import first_frame_seconds
from ltx_core.shapes import AUDIO_RATE, sound_samples

PREROLL_SECONDS = 1.0
"""Decoded before the span, so that codecs which overlap blocks (AAC, Opus) have settled, and resampling filters too."""
SEEK_FROM_SECONDS = 5.0
UNSTATED_PADDING = {("avi", "mp3float"): 1105, ("avi", "mp3"): 1105, ("avi", "aac"): 1024}
"""Samples by which decoded sound is late in containers that do not say so: what every encoder of it puts before the
sound, at least (of MP3, 576 by LAME and its like and 529 by any decoder)."""


class Span(NamedTuple):
    """Seconds from `start` to `end`."""

    start: float
    end: float


def decode_sound(path: Path, start_seconds: float, seconds: float, *, rate: int = AUDIO_RATE) -> Sound | None:
    """The sound of a span: float32 [2, sound_samples(seconds, rate)] in about [-1, 1]; None without an audio stream.

    Zero of the clock is the first video frame; in a file of sound alone, the container's. Where the file has no sound
    (the stream starts later, ends earlier, has a gap) there is silence. Any layout is mixed to stereo as
    `stereo_matrix` says.

    Raises:
        MediaError: DECODE_ERROR, there is an audio stream that cannot be decoded; or the file itself is unusable.
    """
    found = sound_and_gaps(path, start_seconds, seconds, rate=rate)
    return None if found is None else found[0]


def sound_and_gaps(
    path: Path, start_seconds: float, seconds: float, *, rate: int = AUDIO_RATE
) -> tuple[Sound, list[Span]] | None:
    """As `decode_sound`, and where in it the file has no sound, in order, counted from the span's start.

    Raises:
        MediaError: as `decode_sound` says.
    """
    with open_media(path) as container:
        stream = preferred_audio(container)
        if stream is None:
            return None
        has_picture, padding = has_video(container), _padding(container, stream)
    begin = (first_frame_seconds(path) if has_picture else 0.0) + start_seconds
    out = np.zeros((2, sound_samples(seconds, rate)), dtype=np.float32)
    is_gap = np.ones(out.shape[1], dtype=bool)
    begin += padding
    for run in unbroken(_pieces(_audio_frames(path, begin), begin, seconds + PREROLL_SECONDS, path)):
        is_gap[_place(out, _resampled(run, rate), round(run.start * rate))] = False
    edges = np.flatnonzero(np.diff(is_gap, prepend=False, append=False)) / rate
    return out, [Span(*map(float, pair)) for pair in edges.reshape(-1, 2)]


def has_sound(path: Path) -> bool:
    """Whether the file has an audio stream; nothing is decoded.

    Raises:
        MediaError: the file is missing, cut off, or no media.
    """
    with open_media(path) as container:
        return bool(container.streams.audio)


def to_channels(sound: Sound, channels: int) -> Sound:
    """Stereo [2, N] as wanted: 2, itself; 1, the mean of both channels in both, for the audio VAE takes two.

    Raises:
        ValueError: `channels` is neither 1 nor 2.
    """
    if channels == 2:
        return sound
    if channels == 1:
        return np.repeat(sound.mean(axis=0, keepdims=True, dtype=np.float32), 2, axis=0)
    raise ValueError(f"channels is {channels}; 1 (down-mixed, then duplicated) or 2 is wanted")


def _padding(container: Any, stream: Any) -> float:
    """Seconds by which decoded sound is late."""
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
    try:
        container.seek(int(seconds / stream.time_base), stream=stream)
        frames = container.decode(stream)
        first = next(frames, None)
    except av.FFmpegError:
        return None  # not seekable; the caller decodes from the start, where true damage shows again
    if first is None or first.pts is None or float(first.pts * first.time_base) > seconds + PREROLL_SECONDS / 2:
        return None
    return chain([first], frames)


def _pieces(frames: Iterable[Any], begin: float, seconds: float, path: Path) -> Iterator[Piece]:
    """Decoded frames until `seconds` after container time `begin`; one without a time follows the one before."""
    end = 0.0
    for frame in frames:
        time = end if frame.pts is None else float(frame.pts * frame.time_base) - begin
        if time > seconds:
            return
        yield Piece(time, frame.sample_rate, _stereo(frame, path))
        end = time + frame.samples / frame.sample_rate


def _stereo(frame: Any, path: Path) -> Sound:
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


def _resampled(run: Run, rate: int) -> Sound:
    """The run at `rate`; its first sample stays where it was in time."""
    if run.rate == rate:
        return run.sound
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(run.sound), format="fltp", layout="stereo")
    frame.sample_rate = run.rate
    return np.concatenate([f.to_ndarray() for f in (*resampler.resample(frame), *resampler.resample(None))], axis=1)


def _place(out: Sound, sound: Sound, position: int) -> slice:
    """Write `sound` into `out` from sample `position`, which may lie outside on either side; gives what was written."""
    first, last = max(position, 0), min(position + sound.shape[1], out.shape[1])
    if first >= last:
        return slice(0, 0)
    out[:, first:last] = sound[:, first - position : last - position]
    return slice(first, last)
