"""Sizes that clips are trained at: multiples of 32, near the source's shape and the wanted size."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ltx_core.errors import ConfigError
from ltx_core.shapes import SPACE_STRIDE

Size = tuple[int, int]
"""Width and height in pixels."""


def bucket_size(width: int, height: int, resolution: float, resolution_type: str, downscale: int = 1) -> Size:
    """The size that a source of displayed `width` by `height` is trained at.

    `pixel`: the shorter edge is `resolution`. `pixel_area`: the area is that of a square of edge `resolution`. `area`:
    the area is `resolution` million pixels. Each edge is rounded to the nearest multiple of 32, and is at least 32; of
    clips whose references are `downscale` times smaller, of 32 times that.

    Raises:
        ConfigError: no such `resolution_type`.
    """
    if resolution_type == "pixel":
        scale = resolution / min(width, height)
    elif resolution_type == "pixel_area":
        scale = resolution / math.sqrt(width * height)
    elif resolution_type == "area":
        scale = math.sqrt(resolution * 1e6 / (width * height))
    else:
        raise ConfigError(f"resolution_type is {resolution_type!r}; wanted pixel, pixel_area or area")
    stride = SPACE_STRIDE * downscale
    return _to_stride(width * scale, stride), _to_stride(height * scale, stride)


ENLARGED = 1.1
"""By how much of its area a source is enlarged without counting as too small for a size: edges are rounded."""


def least_wasteful(
    width: int, height: int, resolutions: Sequence[float], resolution_type: str, downscale: int = 1
) -> Size:
    """Of the sizes at several resolutions, the largest that a source is not enlarged for; else the smallest.

    Raises:
        ConfigError: no such `resolution_type`.
    """
    sizes = sorted({bucket_size(width, height, one, resolution_type, downscale) for one in resolutions}, key=math.prod)
    return [sizes[0], *(size for size in sizes if math.prod(size) <= ENLARGED * width * height)][-1]


def cover_size(width: int, height: int, bucket: Size) -> Size:
    """The size a source is scaled to, shape kept, so that it just covers `bucket`; what sticks out is cropped."""
    scale = max(bucket[0] / width, bucket[1] / height)
    return max(round(width * scale), bucket[0]), max(round(height * scale), bucket[1])


def middle(frame: npt.NDArray[np.uint8], bucket: Size) -> npt.NDArray[np.uint8]:
    """The middle of a frame [H, W, ...] that covers `bucket` (width, height)."""
    top, left = (frame.shape[0] - bucket[1]) // 2, (frame.shape[1] - bucket[0]) // 2
    return frame[top : top + bucket[1], left : left + bucket[0]]


def fit_size(width: int, height: int, longest: int) -> Size:
    """The size, shape kept, whose longer edge is at most `longest`; never enlarged."""
    scale = min(longest / max(width, height), 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def measured_size(width: int, height: int, resolution_type: str) -> float:
    """Return how large a source is, in the unit of a least size: megapixels for `area`, else pixels of the shorter
    edge."""
    return width * height / 1e6 if resolution_type == "area" else float(min(width, height))


def is_too_small(width: int, height: int, bucket: Size) -> bool:
    """Return whether filling `bucket` would more than double the source: its shorter edge is under half the
    bucket's."""
    return min(width, height) * 2 < min(bucket)


def _to_stride(edge: float, stride: int) -> int:
    return max(math.floor(edge / stride + 0.5), 1) * stride
