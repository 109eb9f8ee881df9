"""A picture file as the frame that footage would give: turned for display, scaled to cover a size, the middle kept."""

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageOps, UnidentifiedImageError

from ltx_core.errors import DataError
from ltx_core.media.buckets import Size, cover_size
from ltx_core.media.clip import middle
from ltx_core.media.orientation import SCALING

DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of more than 8 bits, which it would clip instead of scale."""


def read_picture(path: Path, size: Size) -> npt.NDArray[np.uint8]:
    """The picture, its EXIF orientation followed and transparency on black: uint8 [H, W, 3] RGB of `size` (W, H).

    Raises:
        DataError: the file is missing, or no picture of 8 bits a channel.
    """
    shown = _opened(path)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
    width, height = cover_size(frame.width, frame.height, size)
    scaled = VideoReformatter().reformat(frame, width=width, height=height, format="rgb24", interpolation=SCALING)
    return np.ascontiguousarray(middle(np.asarray(scaled.to_ndarray(), dtype=np.uint8), size))


def picture_size(path: Path) -> Size:
    """Width and height as displayed, in pixels; only the file's start is read where the format has its EXIF there.

    Raises:
        DataError: the file is missing, or no picture, or found damaged on the way.
    """
    with _open(path) as image:
        try:  # of a PNG, EXIF may come last: all of it is read
            sideways = image.getexif().get(0x0112, 1) >= 5
        except (OSError, SyntaxError) as error:
            raise _damaged(path, error) from error
        return (image.height, image.width) if sideways else (image.width, image.height)


def _opened(path: Path) -> npt.NDArray[np.uint8]:
    with _open(path) as image:
        if image.mode in DEEP_MODES:
            raise DataError(f"{path} has more than 8 bits a channel ({image.mode}); save it as an 8-bit PNG or JPEG")
        try:
            turned = ImageOps.exif_transpose(image).convert("RGBA")
        except (OSError, SyntaxError) as error:
            raise _damaged(path, error) from error
    ground = Image.new("RGBA", turned.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(ground, turned).convert("RGB"), dtype=np.uint8)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is a damaged picture ({error}); save it again")


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"there is no picture {path}; give a PNG or JPEG file")
    try:
        return Image.open(path)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise DataError(f"{path} is no picture that can be opened ({error}); give a PNG or JPEG file") from error
