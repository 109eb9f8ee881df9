"""A picture file as the frame that footage would give: turned for display, scaled to cover a size, the middle kept."""

import io
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ltx_core.errors import DataError
from ltx_core.media.buckets import Size, cover_size
from ltx_core.media.clip import middle
from ltx_core.media.orientation import SCALING
from ltx_core.media.recompress import recompressed

DEEP_MODES = ("I", "F")
"""Pillow's modes of numbers without a stated white, so that there is no right way to make 8 bits of them."""
GRAY_16_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
SAME_LEVELS = 2
"""A profile that changes no colour of a coarse lattice by more than this is sRGB's; its picture is left as it is."""
LATTICE = np.stack(np.meshgrid(*[np.arange(0, 256, 51, dtype=np.uint8)] * 3, indexing="ij"), axis=-1).reshape(6, 36, 3)


def read_picture(path: Path, size: Size, *, crf: int = 0) -> npt.NDArray[np.uint8]:
    """The picture, its EXIF orientation followed and transparency on black: uint8 [H, W, 3] RGB of `size` (W, H).

    Colours are sRGB's: an ICC profile of others is followed, and 16 bits become 8. With a `crf` it is compressed at its
    own size first (`recompressed`).

    Raises:
        DataError: the file is missing, or no picture, or its numbers are of 32 bits, or it is too large to compress.
    """
    shown = recompressed(_opened(path), crf)
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
            raise DataError(
                f"{path} has numbers of 32 bits for colours ({image.mode}); save it as a PNG of 8 or 16 bits, or a JPEG"
            )
        try:
            turned = _in_srgb(ImageOps.exif_transpose(image)).convert("RGBA")
        except (OSError, SyntaxError, ValueError, ImageCms.PyCMSError) as error:
            raise _damaged(path, error) from error
    ground = Image.new("RGBA", turned.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(ground, turned).convert("RGB"), dtype=np.uint8)


def _in_srgb(image: Image.Image) -> Image.Image:
    """The picture in 8-bit sRGB colours, as its ICC profile says if it has one, its transparency kept."""
    if image.mode in GRAY_16_MODES:
        return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    if profile is None or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image.convert("RGB") if image.mode in ("CMYK", "LAB", "HSV", "YCbCr") else image
    given, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), _srgb()
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


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _converted(image: Image.Image, given: ImageCms.ImageCmsProfile, wanted: ImageCms.ImageCmsProfile) -> Image.Image:
    made = ImageCms.profileToProfile(image, given, wanted, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
    if made is None:
        raise ValueError("its ICC profile gave no picture")
    return made


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is a damaged picture ({error}); save it again")


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"there is no picture {path}; give a PNG or JPEG file")
    try:
        return Image.open(path)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise DataError(f"{path} is no picture that can be opened ({error}); give a PNG or JPEG file") from error
