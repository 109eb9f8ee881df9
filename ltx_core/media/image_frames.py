"""The frames of an image file, still or animated, as `timeline` gives those of a video.

Pillow reads them, since ffmpeg reads no animated WebP, and follows neither EXIF nor ICC profiles.
"""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import Ground
from ltx_core.errors import DataError
from ltx_core.media.container import check_bytes, truncated
from ltx_core.media.display import Display, TimedFrame
from ltx_core.media.errors import MediaError
from ltx_core.media.image import DAMAGE, orientation, shown_pixels

FORMATS = {"GIF": "gif", "JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp"}
"""Pillow's names of what is read, and ours. An MPO is a JPEG that a camera has put a preview or a gain map behind."""
ANIMATED = frozenset({"GIF", "PNG", "WEBP"})
STILL_SECONDS = 1.0
"""That an image without motion is shown: one frame a second, as in Lightricks' trainer. The model sees no difference,
since its positions are relative and all those of one frame have the same time."""
LEAST_SECONDS, UNTIMED_SECONDS = 0.01, 0.1
"""Browsers show a frame of up to the first, which is no time at all, for the second."""
GIF_TRAILER, LAST_BYTES = b"\x00\x3b", 64
"""The end of the last block and of the file; some programs write more behind it."""
TOLERANCE = 1e-4
"""Of a time: durations are whole milliseconds."""
ROTATIONS = {3: 180, 5: 90, 6: 90, 7: 270, 8: 270}
"""Clockwise degrees by EXIF orientation; of a mirrored image, those of its left-to-right axis."""


class ImageInfo(NamedTuple):
    """Properties of an image file."""

    format: str
    """`gif`, `jpeg`, `png` or `webp`."""
    rotation: int
    has_alpha: bool
    shown: list[float]
    """When each frame is shown, in seconds from the first."""
    last_seconds: float
    width: int
    height: int


def image_info(path: Path) -> ImageInfo:
    """Decode every frame of `path`, and say what it is.

    Raises:
        MediaError: see `image_frames`.
    """
    with _opened(path) as image:
        kind, rotation = FORMATS[str(image.format)], ROTATIONS.get(orientation(image), 0)
        frames = [(timed._replace(frame=None), is_clear) for timed, is_clear in _frames(image)]
    first, last = frames[0][0], frames[-1][0]
    return ImageInfo(
        format=kind,
        rotation=rotation,
        has_alpha=any(is_clear for _, is_clear in frames),
        shown=[timed.time for timed, _ in frames],
        last_seconds=last.end - last.time,
        width=first.display.width,
        height=first.display.height,
    )


def image_frames(path: Path, ground: Ground = "black") -> Iterator[TimedFrame]:
    """Frames in the order they are shown, in sRGB, turned as EXIF says, on `ground` where they are
    transparent.

    Raises:
        MediaError: EMPTY_FILE, UNREADABLE, NOT_MEDIA, TRUNCATED or DECODE_ERROR.
    """
    with _opened(path) as image:
        for timed, _ in _frames(image, ground):
            yield timed


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, with Pillow's errors about all that is done with it as ones with a reason."""
    check_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of half of what is refused
            opened = Image.open(path, formats=("GIF", "JPEG", "PNG", "WEBP"))
        with opened as image:
            if image.format == "GIF":
                _check_trailer(path)
            yield image
    except UnidentifiedImageError as error:
        raise MediaError(
            QuarantineReason.NOT_MEDIA,
            f"{path} is no PNG, JPEG, WebP or GIF, whatever its name says; one is wanted. Save it as PNG or JPEG.",
        ) from error
    except Image.DecompressionBombError as error:
        raise MediaError(
            QuarantineReason.DECODE_ERROR,
            f"{path} is too large to be read ({error}); save it smaller, clips are of a few megapixels at most.",
        ) from error
    except (DataError, *DAMAGE) as error:
        if isinstance(error, MediaError):
            raise
        is_cut = "truncated" in str(error).lower() or isinstance(error, (EOFError, IndexError, struct.error))
        raise MediaError(
            QuarantineReason.TRUNCATED if is_cut else QuarantineReason.DECODE_ERROR,
            f"the image {path} cannot be decoded ({error}); copy it again from its source, or save it as PNG or JPEG.",
        ) from error


def _check_trailer(path: Path) -> None:
    """See that a GIF has its end, without which frames may be missing (GIF89a, 27).

    Raises:
        MediaError: TRUNCATED.
    """
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, LAST_BYTES), os.SEEK_END)
        if GIF_TRAILER not in file.read():
            raise truncated(path, "a GIF ends with a trailer, which is missing")


def _frames(image: Image.Image, ground: Ground = "black") -> Iterator[tuple[TimedFrame, bool]]:
    """Each frame, and whether anything in it is transparent."""
    count = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
    first = 1 if count > 1 and image.info.get("default_image") else 0  # of a PNG, what is shown where nothing moves
    time = 0.0
    for number in range(first, count):
        image.seek(number)
        image.load()  # only now does a WebP know how long it is shown
        seconds = STILL_SECONDS if count - first == 1 else _seconds(image.info.get("duration"))
        pixels, is_clear = shown_pixels(image, ground)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        yield TimedFrame(time, time + seconds, TOLERANCE, Display(frame.width, frame.height), frame), is_clear
        time += seconds


def _seconds(milliseconds: Any) -> float:
    stated = float(milliseconds or 0) / 1000
    return stated if stated > LEAST_SECONDS else UNTIMED_SECONDS
