"""Open a container and choose its streams; turn what ffmpeg raises into errors with a reason."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from datasets_spec.quarantine import QuarantineReason
from ltx_core.errors import TransientError
from ltx_core.files.regular import open_regular
from ltx_core.media.errors import MediaError
from ltx_core.media.truncation import looks_like_video, missing_end

OPEN_OPTIONS = {
    "protocol_whitelist": "file",  # a playlist renamed to .mp4 must not reach the network
    "format_whitelist": "mov,mp4,m4a,3gp,matroska,webm,avi,asf,flv,mpegts,mpeg,mpegvideo,mxf,ogg,h264,hevc,m4v,dv,"
    "mp3,aac,wav,flac",
}
"""Containers that are opened. Playlists, scripts and image sequences are not footage."""
LATE_STREAMS = frozenset({"flv", "mpegts", "mpeg"})
"""Containers without a list of their streams, which may begin anywhere; ffmpeg looks into the first 5 MB alone."""
DEEP_OPTIONS = {"probesize": str(64 * 2**20), "analyzeduration": str(10**10)}
"""How far (bytes, microseconds) to look for pictures or sound that were not at the beginning."""
DECODER_THREADS = 0
"""Of a video decoder; 0: one a core. Changes no picture. A worker among several sets its share."""
HICCUPS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.EAGAIN)
"""What a network file system says when a second try may help."""


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """Yield the opened PyAV container.

    Raises:
        MediaError: EMPTY_FILE, UNREADABLE, TRUNCATED or NOT_MEDIA.
        TransientError: the file system failed in a way that a retry may mend.
    """
    _check_bytes(path)
    try:
        container = av.open(str(path), options=OPEN_OPTIONS)
        streams = container.streams
        if container.format.name in LATE_STREAMS and not (streams.video and streams.audio):
            container.close()
            container = av.open(str(path), options=OPEN_OPTIONS | DEEP_OPTIONS)
    except av.FFmpegError as error:
        raise _unopened(path, error) from error
    with container:
        yield container


def demuxed(container: Any, *streams: Any) -> Iterator[Any]:
    """The packets of some streams as they are stored, then an empty one for each, which flushes its decoder.

    Raises:
        FFmpegError: what is stored cannot be read.
    """
    try:
        yield from container.demux(*streams)
    except IndexError:
        # Once all is read PyAV flushes every stream that ffmpeg has by now, and looks up those that appeared since
        # the file was opened, which it does not know. Their numbers are the highest: all others have been flushed.
        return


def _check_bytes(path: Path) -> None:
    try:
        with open_regular(path) as file:
            is_empty = not file.read(1)
        cut = missing_end(path)
    except OSError as error:
        if error.errno in HICCUPS:
            raise TransientError(f"reading {path} failed: {error.strerror}; try again") from error
        raise MediaError(
            QuarantineReason.UNREADABLE,
            f"{path} cannot be read: {error.strerror}; a readable file is wanted. Mend its permissions or its link.",
        ) from error
    if is_empty:
        raise MediaError(QuarantineReason.EMPTY_FILE, f"{path} has no bytes; a video is wanted. Copy it again.")
    if cut is not None:
        raise truncated(path, cut)


def _unopened(path: Path, error: av.FFmpegError) -> MediaError:
    if looks_like_video(path):
        return truncated(path, f"it begins as a video and then breaks off ({error.strerror})")
    return MediaError(
        QuarantineReason.NOT_MEDIA,
        f"{path} holds no container that ffmpeg knows as video ({error.strerror}); a video is wanted. Check where it "
        f"comes from, or remove it.",
    )


def truncated(path: Path, what: str) -> MediaError:
    """The error of a file whose end is missing; `what` says how that is known."""
    return MediaError(
        QuarantineReason.TRUNCATED, f"{path} is cut off: {what}; the whole file is wanted. Copy or record it again."
    )


@contextmanager
def decode_errors(path: Path, stream: str) -> Iterator[None]:
    """Name the file and the stream (`video`, `audio`) in what ffmpeg raises while it reads and decodes.

    Raises:
        MediaError: DECODE_ERROR.
    """
    try:
        yield
    except av.FFmpegError as error:
        raise MediaError(
            QuarantineReason.DECODE_ERROR,
            f"the {stream} of {path} cannot be decoded: {error.strerror}; a stream without errors is wanted. Convert "
            f"it again from its source, or remove it.",
        ) from error


def video_stream(container: Any, path: Path) -> Any:
    """The default video stream, else the first, cover pictures left out; set to decode on several cores.

    Raises:
        MediaError: NO_VIDEO, there is none; DECODE_ERROR, there is no decoder for it.
    """
    streams = _pictures(container)
    if not streams:
        raise MediaError(
            QuarantineReason.NO_VIDEO,
            f"{path} ({container.format.name}) has no video stream; one is wanted. Remove it from the footage.",
        )
    stream = _preferred(streams)
    _check_decoder(stream, path, "video")
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = DECODER_THREADS
    return stream


def has_video(container: Any) -> bool:
    """Whether there is a video stream that is not a cover picture."""
    return bool(_pictures(container))


def _pictures(container: Any) -> list[Any]:
    stills = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & stills]


def audio_stream(container: Any, path: Path) -> Any | None:
    """The default audio stream, else the first, of those that can be decoded; None without any audio.

    Raises:
        MediaError: DECODE_ERROR, there is no decoder for it.
    """
    stream = preferred_audio(container)
    if stream is not None:
        _check_decoder(stream, path, "audio")
    return stream


def preferred_audio(container: Any) -> Any | None:
    """As `audio_stream`; if there is none that can be decoded, one that cannot."""
    streams = list(container.streams.audio)
    # Phones add a spatial track that ffmpeg cannot decode beside the plain one.
    return _preferred([s for s in streams if s.codec_context is not None] or streams) if streams else None


def _preferred(streams: list[Any]) -> Any:
    """What a player takes: the stream that the file marks as default; without such a mark, the first."""
    return next((s for s in streams if s.disposition & av.stream.Disposition.default), streams[0])


def _check_decoder(stream: Any, path: Path, kind: str) -> None:
    if stream.codec_context is None:
        raise MediaError(
            QuarantineReason.DECODE_ERROR,
            f"the {kind} of {path} is in a codec this ffmpeg has no decoder for. Convert it, to H.264 and AAC say.",
        )
