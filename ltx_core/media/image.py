"""Images: the frames of an image file, still or animated, and single images as a video codec leaves them.

Pillow reads them, since ffmpeg reads no animated WebP, and follows neither EXIF nor ICC profiles.

The models are trained on frames of compressed video, and an image that is sharper than those may stand still in a
render. Lightricks' inference therefore compresses an image as one frame of H.264 before it is encoded.
"""

import io
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import Ground
from ltx_core.errors import DataError
from ltx_core.media.buckets import Size, cover_size, middle
from ltx_core.media.container import check_bytes, truncated
from ltx_core.media.display import GROUNDS, OPAQUE, SCALING, Display, TimedFrame
from ltx_core.media.errors import MediaError

PRESET = "veryfast"
"""Lightricks' own."""
SMALLEST = 2
"""Pixels of an edge, which 4:2:0 needs."""


def recompressed(pixels: npt.NDArray[np.uint8], crf: int) -> npt.NDArray[np.uint8]:
    """The image after H.264 at a constant rate factor, equal for equal images on one build of x264.

    Args:
        image: uint8 [H, W, 3] RGB; an odd last row or column is cut off.
        crf: 0 to 51, as x264 has it. At 0, and for an image of one row or column, it is given back as it is.

    Raises:
        DataError: x264 cannot take an image of that size.
    """
    height, width = (edge // 2 * 2 for edge in pixels.shape[:2])
    if crf == 0 or min(height, width) < SMALLEST:
        return pixels
    try:
        return _decoded(_encoded(np.ascontiguousarray(pixels[:height, :width]), crf))
    except av.FFmpegError as error:
        raise DataError(
            f"an image of {width}x{height} cannot be compressed by H.264 ({error}); make it smaller, or set "
            f"render_validation.image_crf: 0"
        ) from error


def _encoded(pixels: npt.NDArray[np.uint8], crf: int) -> list[Any]:
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", Fraction(1), Fraction(1)
    encoder.options = {"crf": str(crf), "preset": PRESET}
    encoder.thread_count = 1  # other numbers of threads give other bytes
    encoder.flags |= Flags.bitexact
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p", threads=1)
    frame.pts = 0
    return [*encoder.encode(frame), *encoder.encode(None)]


def _decoded(packets: list[Any]) -> npt.NDArray[np.uint8]:
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    (frame,) = (frame for packet in [*packets, None] for frame in decoder.decode(packet))
    return np.asarray(frame.reformat(format="rgb24", threads=1).to_ndarray(), dtype=np.uint8)


DEEP_MODES = ("I", "F")
"""Pillow's modes of numbers without a stated white, so that there is no right way to make 8 bits of them."""
GRAY_16_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
SAME_LEVELS = 2
"""A profile that changes no colour of a coarse lattice by more than this is sRGB's; its image is left as it is."""
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    struct.error,
    ImageCms.PyCMSError,
)
"""Errors that Pillow raises about files that are not as they should be."""
LATTICE = np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * 3, indexing="ij"), axis=-1).reshape(6, 36, 3)


def read_image(path: Path, size: Size, *, crf: int = 0) -> npt.NDArray[np.uint8]:
    """The image, its EXIF orientation followed and transparency on black: uint8 [H, W, 3] RGB of `size` (W, H).

    Colours are sRGB's: an ICC profile of others is followed, and 16 bits become 8. With a `crf` it is compressed at its
    own size first (`recompressed`).

    Raises:
        DataError: the file is missing, or no image, or its numbers are of 32 bits, or it is too large to compress.
    """
    shown = recompressed(_pixels(path), crf)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
    width, height = cover_size(frame.width, frame.height, size)
    scaled = VideoReformatter().reformat(frame, width=width, height=height, format="rgb24", interpolation=SCALING)
    return np.ascontiguousarray(middle(np.asarray(scaled.to_ndarray(), dtype=np.uint8), size))


read_picture = read_image
"""Its earlier name, for the modules that are not renamed yet."""


def image_size(path: Path) -> Size:
    """Width and height as displayed, in pixels; only the file's start is read where the format has its EXIF there.

    Raises:
        DataError: the file is missing, or no image, or found damaged on the way.
    """
    with _open(path) as image:
        try:  # of a PNG, EXIF may come last: all of it is read
            sideways = orientation(image) >= 5
        except DAMAGE as error:
            raise _damaged(path, error) from error
        return (image.height, image.width) if sideways else (image.width, image.height)


def orientation(image: Image.Image) -> int:
    """Return how an image is turned for display, as EXIF counts it: from 1, not at all, to 8; 5 and more lie on a
    side."""
    return int(image.getexif().get(0x0112, 1))


def shown_pixels(image: Image.Image, ground: Ground = "black") -> tuple[npt.NDArray[np.uint8], bool]:
    """Return an opened image, or the frame of it that is sought, as it is displayed: uint8 [H, W, 3] of sRGB, on
    `ground` where it is transparent; and whether it is so anywhere.

    Raises:
        DataError: its numbers are of 32 bits.
        DAMAGE: one of these, it is damaged.
    """
    if image.mode in DEEP_MODES:
        raise DataError(
            f"it has numbers of 32 bits for colours ({image.mode}); save it as a PNG of 8 or 16 bits, or a JPEG"
        )
    turned = _in_srgb(ImageOps.exif_transpose(image))
    if turned.mode == "RGB" and "transparency" not in turned.info:  # large photographs: once is enough in memory
        return np.asarray(turned, dtype=np.uint8), False
    turned = turned.convert("RGBA")
    below = Image.new("RGBA", turned.size, (*[GROUNDS[ground]] * 3, OPAQUE))
    is_clear = bool((np.asarray(turned.getchannel("A")) < OPAQUE).any())
    return np.asarray(Image.alpha_composite(below, turned).convert("RGB"), dtype=np.uint8), is_clear


def _pixels(path: Path) -> npt.NDArray[np.uint8]:
    with _open(path) as image:
        try:
            return shown_pixels(image)[0]
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        except DAMAGE as error:
            raise _damaged(path, error) from error


def _in_srgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit sRGB colours, as its ICC profile says if it has one, its transparency kept."""
    if image.mode in GRAY_16_MODES:
        return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    if profile is None or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image.convert("RGB") if image.mode in ("CMYK", "LAB", "HSV", "YCbCr") else image
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    if image.mode == "CMYK":
        return _converted(image, given, srgb)
    lattice = Image.fromarray(LATTICE)
    moved = np.asarray(_converted(lattice, given, srgb), dtype=np.int16) - LATTICE
    if np.abs(moved).max() <= SAME_LEVELS:
        return image
    converted = _converted(image.convert("RGB"), given, srgb)
    if image.mode == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted


def _converted(image: Image.Image, embedded: ImageCms.ImageCmsProfile, wanted: ImageCms.ImageCmsProfile) -> Image.Image:
    made = ImageCms.profileToProfile(image, embedded, wanted, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
    if made is None:
        raise ValueError("its ICC profile gave no image")
    return made


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is a damaged image ({error}); save it again")


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"there is no image {path}; give a PNG or JPEG file")
    try:
        return Image.open(path)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise DataError(f"{path} is no image that can be opened ({error}); give a PNG or JPEG file") from error


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
    with _footage(path) as image:
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
    with _footage(path) as image:
        for timed, _ in _frames(image, ground):
            yield timed


@contextmanager
def _footage(path: Path) -> Iterator[Image.Image]:
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
