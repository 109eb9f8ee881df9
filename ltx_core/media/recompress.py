"""A picture as a video codec leaves it.

The models are trained on frames of compressed video, and a picture that is sharper than those may stand still in a
render. Lightricks' inference therefore compresses a given picture as one frame of H.264 before it is encoded.
"""

from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags

from ltx_core.errors import DataError

PRESET = "veryfast"
"""Lightricks' own."""
SMALLEST = 2
"""Pixels of an edge, which 4:2:0 needs."""


def recompressed(picture: npt.NDArray[np.uint8], crf: int) -> npt.NDArray[np.uint8]:
    """The picture after H.264 at a constant rate factor, equal for equal pictures on one build of x264.

    Args:
        picture: uint8 [H, W, 3] RGB; an odd last row or column is cut off.
        crf: 0 to 51, as x264 has it. At 0, and for a picture of one row or column, it is given back as it is.

    Raises:
        DataError: x264 cannot take a picture of that size.
    """
    height, width = (edge // 2 * 2 for edge in picture.shape[:2])
    if crf == 0 or min(height, width) < SMALLEST:
        return picture
    try:
        return _decoded(_encoded(np.ascontiguousarray(picture[:height, :width]), crf))
    except av.FFmpegError as error:
        raise DataError(
            f"a picture of {width}x{height} cannot be compressed by H.264 ({error}); make it smaller, or set "
            f"render_validation.picture_crf: 0"
        ) from error


def _encoded(picture: npt.NDArray[np.uint8], crf: int) -> list[Any]:
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", Fraction(1), Fraction(1)
    encoder.options = {"crf": str(crf), "preset": PRESET}
    encoder.thread_count = 1  # other numbers of threads give other bytes
    encoder.flags |= Flags.bitexact
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", threads=1)
    frame.pts = 0
    return [*encoder.encode(frame), *encoder.encode(None)]


def _decoded(packets: list[Any]) -> npt.NDArray[np.uint8]:
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    (frame,) = (frame for packet in [*packets, None] for frame in decoder.decode(packet))
    return np.asarray(frame.reformat(format="rgb24", threads=1).to_ndarray(), dtype=np.uint8)
