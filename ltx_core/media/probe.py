"""The properties of a media file, or the reason why it cannot be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from operator import add
from pathlib import Path
from statistics import median
from typing import Any

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import Colors, Scan
from ltx_core.media.container import (
    audio_stream,
    decode_errors,
    has_video,
    num_indexes,
    open_media,
    preferred_audio,
    truncated,
    video_stream,
)
from ltx_core.media.detect_interlacing import look_at
from ltx_core.media.errors import MediaError
from ltx_core.media.find import is_image
from ltx_core.media.frames import CYCLE, KEPT, clock_tolerance, first_frame_seconds, frame_step, timed_frames
from ltx_core.media.image import TOLERANCE, image_info
from ltx_core.media.missing_frames import lost_frame
from ltx_core.media.packets import BACK_SECONDS, UNSTAMPED, Packets, Track, is_loose, packets_of
from ltx_core.media.windows import usual_rate
from ltx_core.shapes import NOMINAL_RATE

HIDDEN_FRAME_CODECS = frozenset({"vp8"})
"""Codecs whose packets may hold frames that are never shown, so that counting packets counts too many."""
UNREAD_BYTES, UNREAD_FRACTION = 2**16, 0.05
"""More than both at the end of a Flash file, after its last packet, is another recording."""
UNSAID_SECONDS = 0.2
"""By which audio may end before its header says, which rounds and counts a codec's delay."""
GUESSED_DURATION = frozenset({"mpeg", "mpegts", "mpegvideo", "h264", "hevc", "m4v", "dv"})
"""Containers that state no duration; ffmpeg's guess proves nothing."""
GUESSED_AUDIO = GUESSED_DURATION | {"aac", "ac3", "dts", "eac3", "mp3"}
"""The same of audio alone. An MP3 may state one, but which do cannot be seen."""


@dataclass(frozen=True)
class MediaInfo:
    """One readable file; the fields are those of `datasets_spec.Media` of the same names."""

    container: str
    video_codec: str
    width: int
    height: int
    rotation: int
    num_frames: int
    duration_seconds: float
    frame_rate: float
    is_variable_rate: bool
    usual_rate: float
    scan: Scan = "progressive"
    colors: Colors = "sdr"
    has_alpha: bool = False
    audio_codec: str | None = None
    audio_channels: int = 0
    audio_rate: int = 0


@dataclass(frozen=True)
class Times:
    """When the frames of a file are shown, in seconds from the first; `tolerance` is the rounding of a time."""

    shown: Sequence[float]
    last_seconds: float
    tolerance: float

    @property
    def duration(self) -> float:
        return self.shown[-1] - self.shown[0] + self.last_seconds

    @property
    def is_variable(self) -> bool:
        """True if intervals differ by more than rounding explains."""
        steps = _intervals(self.shown)
        return bool(steps) and max(steps) - min(steps) > 2 * self.tolerance + 0.02 * median(steps)


def probe_media(path: Path) -> MediaInfo:
    """Read every packet of `path`, decode its first frame, and say what the file is; an image is decoded whole.

    Raises:
        MediaError: EMPTY_FILE, UNREADABLE, NOT_MEDIA, NO_VIDEO, TRUNCATED or DECODE_ERROR.
    """
    if is_image(path):
        return _image(path)
    with open_media(path) as container, decode_errors(path, "video"):
        stream = video_stream(container, path)
        packets = packets_of(path)
        _check_whole(container, stream, packets, path)
        _check_single(container, packets, path)
        _check_unbroken(container, stream, packets, path)
        first = next(timed_frames(path))
        times = _packet_times(path, stream, packets.tracks[stream.index]) or _decoded_times(path, stream)
        rate = usual_rate(times.shown, times.tolerance, (stream.guessed_rate, stream.average_rate))
        look = look_at(path, len(times.shown), times.duration, rate, stream.codec_context.codec_tag)
        audio = preferred_audio(container)
        decoder = audio.codec_context if audio is not None else None
        return MediaInfo(
            container=container.format.name,
            video_codec=stream.codec.canonical_name,
            width=first.display.width,
            height=first.display.height,
            rotation=first.display.rotation,
            num_frames=len(times.shown),
            duration_seconds=times.duration,
            frame_rate=len(times.shown) / times.duration,
            is_variable_rate=times.is_variable,
            usual_rate=rate * KEPT / CYCLE if look.scan.startswith("telecined") else rate,
            scan=look.scan,
            colors=look.colors,
            has_alpha=look.has_alpha,
            audio_codec=None if audio is None else "unknown" if decoder is None else audio.codec.canonical_name,
            audio_channels=0 if decoder is None else decoder.channels,
            audio_rate=0 if decoder is None else decoder.sample_rate,
        )


def probe_audio(path: Path) -> MediaInfo:
    """Read every packet of `path` and say what its audio is; whether it has a video does not matter.

    Raises:
        MediaError: EMPTY_FILE, UNREADABLE, NOT_MEDIA, NO_AUDIO, TRUNCATED or DECODE_ERROR.
    """
    with open_media(path) as container, decode_errors(path, "audio"):
        stream = audio_stream(container, path)
        if stream is None:
            raise MediaError(QuarantineReason.NO_AUDIO, f"{path} holds no audio; put audio there, or remove it")
        packets = packets_of(path)
        track = packets.tracks[stream.index]
        if not len(track):
            raise truncated(path, "its audio stream has headers but no data")
        begin = first_frame_seconds(path) if has_video(container) else 0.0
        seconds = _end(track) - begin
        is_stated = stream.duration and container.format.name not in GUESSED_AUDIO
        stated = float(stream.duration * stream.time_base) if is_stated else 0.0
        first = min((stamp for stamp, _ in track.shown() if stamp is not None), default=0) * track.time_base
        if stated - (seconds + begin - float(first)) > max(UNSAID_SECONDS, 0.01 * stated):
            raise truncated(path, f"its headers speak of {stated:.2f} s, its data ends at {_end(track):.2f} s")
        if seconds <= 0:
            raise MediaError(QuarantineReason.NO_AUDIO, f"{path} has no audio beside its video; remove it")
        decoder = stream.codec_context
        return MediaInfo(
            container=container.format.name,
            video_codec="none",
            width=0,
            height=0,
            rotation=0,
            num_frames=max(round(seconds * NOMINAL_RATE), 1),
            duration_seconds=seconds,
            frame_rate=NOMINAL_RATE,
            is_variable_rate=False,
            usual_rate=NOMINAL_RATE,
            audio_codec=stream.codec.canonical_name,
            audio_channels=decoder.channels,
            audio_rate=decoder.sample_rate,
        )


def _image(path: Path) -> MediaInfo:
    found = image_info(path)
    times = Times(found.shown, found.last_seconds, TOLERANCE)
    return MediaInfo(
        container=found.format,
        video_codec=found.format,
        width=found.width,
        height=found.height,
        rotation=found.rotation,
        num_frames=len(found.shown),
        duration_seconds=times.duration,
        frame_rate=len(found.shown) / times.duration,
        is_variable_rate=times.is_variable,
        usual_rate=usual_rate(times.shown, times.tolerance, [Fraction(1)]),  # of a single frame
        has_alpha=found.has_alpha,
    )


def _check_whole(container: Any, stream: Any, packets: Packets, path: Path) -> None:
    """Compare the durations that the headers state with where the packets end.

    A stated duration may be counted from zero or from the first packet (Matroska's is both, by writer), and may be
    that of subtitles: whole is what reaches it either way, in any stream.

    Raises:
        MediaError: TRUNCATED.
    """
    track = packets.tracks[stream.index]
    if not len(track):
        raise truncated(path, "its video stream has headers but no frames")
    if container.format.name in GUESSED_DURATION:
        return
    begin = float((stream.start_time or 0) * stream.time_base)
    stated = [(float(stream.duration * stream.time_base) + begin, _end(track))] if stream.duration else []
    if container.duration:
        stated.append((container.duration / 1e6, max(_end(one) for one in packets.tracks.values())))
    for wanted, found in stated:
        if wanted - found > max(0.2, 2.5 * frame_step(stream), 0.01 * wanted):
            raise truncated(path, f"its headers speak of {wanted:.2f} s, its data ends at {found:.2f} s")


def _check_single(container: Any, packets: Packets, path: Path) -> None:
    """See that a file of one clock is one recording; of several, stored one after another, ffmpeg would show the first
    alone, or with the audio of the others.

    Raises:
        MediaError: DECODE_ERROR.
    """
    begins = [track for track in packets.tracks.values() if not is_loose(container) and _starts_again(track)]
    size = path.stat().st_size
    read = max(max(map(add, track.places, track.sizes), default=0) for track in packets.tracks.values())
    is_unread = container.format.name == "flv" and size - read > max(UNREAD_BYTES, UNREAD_FRACTION * size)
    if begins or is_unread or num_indexes(path) > 1:
        found = "its times start again" if begins else f"{size - read} of its {size} bytes are never reached"
        raise MediaError(
            QuarantineReason.DECODE_ERROR,
            f"{path} seems to be several recordings in one file ({found}); one is wanted. Join them anew, with "
            f"ffmpeg's concat demuxer say, or keep them apart.",
        )


def _check_unbroken(container: Any, stream: Any, packets: Packets, path: Path) -> None:
    """See that no frame was lost on the way from the encoder.

    Raises:
        MediaError: DECODE_ERROR.
    """
    track = packets.tracks[stream.index]
    if (lost := lost_frame(container, stream, track)) is not None:
        begin = min(stamp for stamp, _ in track.shown() if stamp is not None)
        raise MediaError(
            QuarantineReason.DECODE_ERROR,
            f"{path} lacks a frame at about {lost - float(begin * track.time_base):.2f} s, and others are made from "
            f"it; all are wanted. Copy or record it again, or cut it there.",
        )


def _starts_again(track: Track) -> bool:
    known = [stamp for stamp in track.dts if stamp != UNSTAMPED]
    back = int(BACK_SECONDS / track.time_base)
    return track.kind in ("video", "audio") and any(later < earlier - back for earlier, later in pairwise(known))


def _end(track: Track) -> float:
    return float(track.end() * track.time_base)


def _packet_times(path: Path, stream: Any, track: Track) -> Times | None:
    """Times from packets alone; None where they do not tell (missing or equal stamps, frames that are not shown).

    Where a recording begins amid frames that refer to earlier ones, those are not shown: it begins with the first
    that can be decoded.
    """
    base: Fraction = stream.time_base
    shown = track.shown()
    stamps = sorted(stamp for stamp, _ in shown if stamp is not None)
    if len(set(stamps)) != len(shown) or stream.codec.canonical_name in HIDDEN_FRAME_CODECS:
        return None
    begin = first_frame_seconds(path) - float(base) / 2
    stamps = [stamp for stamp in stamps if stamp * base >= begin]
    last = max(shown, key=lambda pair: pair[0] or 0)[1]
    seconds = [float((stamp - stamps[0]) * base) for stamp in stamps]
    steps = _intervals(seconds)
    last_seconds = float(last * base) or (median(steps) if steps else frame_step(stream))
    return Times(seconds, last_seconds, clock_tolerance(base))


def _intervals(shown: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(shown)]


def _decoded_times(path: Path, stream: Any) -> Times:
    """Times from decoding every frame.

    Raises:
        MediaError: DECODE_ERROR.
    """
    shown, end = [], 0.0
    for frame in timed_frames(path):
        shown.append(frame.time)
        end = frame.end
    return Times(shown, max(end - shown[-1], 1e-3), clock_tolerance(stream.time_base))
