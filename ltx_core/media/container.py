"""Open a container, choose its streams, see whether it ends early; ffmpeg's errors become ones with a reason."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av

from datasets_spec.quarantine import QuarantineReason
from ltx_core.errors import TransientError
from ltx_core.io.regular import open_regular
from ltx_core.media.errors import WHOLE_WANTED, MediaError

ISO_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"pnot", b"uuid", b"styp", b"sidx"}
)
"""Outermost boxes of MP4 and QuickTime files (ISO/IEC 14496-12, 4.2 and table 1)."""
EBML_HEADER, EBML_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
"""Identifiers of the first element of a Matroska or WebM file, and of the one that holds all else (RFC 9559)."""
MAGICS = (b"RIFF", EBML_HEADER, b"FLV\x01", b"OggS", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba")
"""First bytes of AVI, Matroska and WebM, Flash, Ogg, ASF (wmv), MPEG program streams."""


def looks_like_video(path: Path) -> bool:
    """Return whether the first bytes are those of a video container; if it then cannot be opened, it is damaged."""
    with open_regular(path) as file:
        head = file.read(8)
    return head.startswith(MAGICS) or head[4:8] in ISO_BOXES


def missing_end(path: Path) -> str | None:
    """Return what is missing at the end of an MP4, QuickTime, AVI or Matroska file, in words; None if nothing seems to
    be.

    Other containers state no length here; `probe` compares their stated duration with what they hold.
    """
    size = path.stat().st_size
    with open_regular(path) as file:
        head = file.read(8)
        if head[:4] == b"RIFF":
            stated = int.from_bytes(head[4:8], "little") + 8
            # Recorders that never came back to fill in the size leave 0 or all ones; the data may still be whole.
            return _short(stated, size) if 8 < stated < 2**32 else None
        if head[4:8] in ISO_BOXES:
            return _missing_boxes(file, size)
        if head[:4] == EBML_HEADER:
            return _missing_segment(file, size)
    return None


def _missing_segment(file: BinaryIO, size: int) -> str | None:
    """Pass over what comes before the segment, which holds all else, and see that the segment lies inside the file."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(12)
        id_length = _ebml_length(head)
        length, num_bytes = _ebml_size(head[id_length:])
        if not id_length or length is None:
            return None  # live recordings state no length
        position += id_length + num_bytes + length
        if head[:id_length] == EBML_SEGMENT:
            return _short(position, size)
    return None


def _ebml_length(head: bytes) -> int:
    """Bytes of a number of variable length, which its first byte tells: 1 to 8; 0 if that is no such byte."""
    return 9 - head[0].bit_length() if head and head[0] else 0


def _ebml_size(head: bytes) -> tuple[int | None, int]:
    """Length of an element and how many bytes say so (RFC 8794, 4); None if it is unknown."""
    num_bytes = _ebml_length(head)
    if not num_bytes or len(head) < num_bytes:
        return None, 0
    mask = (1 << 7 * num_bytes) - 1
    length = int.from_bytes(head[:num_bytes], "big") & mask
    return (None if length == mask else length), num_bytes


def num_indexes(path: Path) -> int:
    """Return how many films an MP4 or QuickTime file holds one after another: its `moov` boxes that are no repetition
    for fragments; 0 of other files."""
    with open_regular(path) as file:
        kinds = [kind for _, kind, _ in _boxes(file, path.stat().st_size)]
    return 1 if b"moof" in kinds else kinds.count(b"moov")


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, int]]:
    """Place, kind and stated length of the outermost boxes, one after another; 0 is up to the end of the file."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind not in ISO_BOXES:
            return  # trailing bytes of some other kind are harmless
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        yield position, kind, length
        position += max(length or size, 8)


def _missing_boxes(file: BinaryIO, size: int) -> str | None:
    """Each outermost box must lie inside the file, and one must be the index, `moov`."""
    end, has_index = 0, False
    for position, kind, length in _boxes(file, size):
        has_index = has_index or kind == b"moov"
        if length == 0:
            return None
        if length < 8:
            return f"box {kind.decode()} at byte {position} has no valid length"
        end = position + length
    if end > size:
        return _short(end, size)
    return None if has_index or end + 8 <= size else "there is no index (moov box), which is written last"


def _short(stated: int, size: int) -> str | None:
    return f"its headers speak of {stated} bytes, the file has {size}" if stated > size + 1 else None


OPEN_OPTIONS = {
    "protocol_whitelist": "file",  # a playlist renamed to .mp4 must not reach the network
    "format_whitelist": "mov,mp4,m4a,3gp,matroska,webm,avi,asf,flv,mpegts,mpeg,mpegvideo,mxf,ogg,h264,hevc,m4v,dv,"
    "mp3,aac,wav,flac",
}
"""Containers that are opened. Playlists, scripts and image sequences are not footage."""
LATE_STREAMS = frozenset({"flv", "mpegts", "mpeg"})
"""Containers without a list of their streams, which may begin anywhere; ffmpeg looks into the first 5 MB alone."""
DEEP_OPTIONS = {"probesize": str(64 * 2**20), "analyzeduration": str(10**10)}
"""Bytes and microseconds within which frames or audio are searched that were not at the beginning."""
DECODER_THREADS = 0
"""Of a video decoder; 0: one a core. Changes no frame. A worker among several sets its own number."""
HICCUPS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR, errno.EAGAIN)
"""Errors of a network file system after which a second try may help."""


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """Yield the opened PyAV container.

    Raises:
        MediaError: EMPTY_FILE, UNREADABLE, TRUNCATED or NOT_MEDIA.
        TransientError: the file system failed in a way that a retry may mend.
    """
    check_bytes(path)
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


def check_bytes(path: Path) -> None:
    """See that a file can be read, and is neither empty nor shorter than it says.

    Raises:
        MediaError: EMPTY_FILE, UNREADABLE or TRUNCATED.
        TransientError: the file system failed in a way that a retry may mend.
    """
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
        why = f"{path} has no bytes; the whole file is wanted. Copy it again."
        raise MediaError(QuarantineReason.EMPTY_FILE, why)
    if cut is not None:
        raise truncated(path, cut)


def _unopened(path: Path, error: av.FFmpegError) -> MediaError:
    if looks_like_video(path):
        return truncated(path, f"it begins as a media file and then breaks off ({error.strerror})")
    return MediaError(
        QuarantineReason.NOT_MEDIA,
        f"{path} holds nothing that ffmpeg knows as video or audio ({error.strerror}); a media file is wanted. Check "
        f"where it comes from, or remove it.",
    )


def truncated(path: Path, what: str) -> MediaError:
    """The error of a file whose end is missing; `what` says how that is known."""
    return MediaError(QuarantineReason.TRUNCATED, f"{path} is cut off: {what}; {WHOLE_WANTED}")


def sought(container: Any, stream: Any, seconds: float, is_late: Callable[[Any], bool]) -> Iterator[Any] | None:
    """Decoded frames from a seek to container time `seconds`; None if that led nowhere, or to a frame that has no time
    or `is_late`. The caller then decodes from the start, where true damage shows again."""
    try:
        container.seek(int(seconds / stream.time_base), stream=stream)
        frames = container.decode(stream)
        first = next(frames, None)
    except av.FFmpegError:
        return None  # not seekable
    return None if first is None or first.pts is None or is_late(first) else chain([first], frames)


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
    """The default video stream, else the first, cover image left out; set to decode on several cores.

    Raises:
        MediaError: NO_VIDEO, there is none; DECODE_ERROR, there is no decoder for it.
    """
    streams = _frame_files(container)
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
    """Return whether there is a video stream that is not a cover image."""
    return bool(_frame_files(container))


def _frame_files(container: Any) -> list[Any]:
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
    """Return what a player takes: the stream that the file marks as default; without such a mark, the first."""
    return next((s for s in streams if s.disposition & av.stream.Disposition.default), streams[0])


def _check_decoder(stream: Any, path: Path, kind: str) -> None:
    if stream.codec_context is None:
        raise MediaError(
            QuarantineReason.DECODE_ERROR,
            f"the {kind} of {path} is in a codec this ffmpeg has no decoder for. Convert it, to H.264 and AAC say.",
        )
