"""Pixels of reference videos: read from a file of one's own, or made of a clip's frames by libavfilter."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.spec import Derived
from ltx_core.errors import DataError
from ltx_core.media.buckets import Size, cover_size, middle
from ltx_core.media.errors import MediaError
from ltx_core.media.find import is_video
from ltx_core.media.frames import Filter, decode_frames
from ltx_core.media.image import read_image

Pixels = npt.NDArray[np.uint8]

COARSE = 8
"""Pixels along each edge that `low_resolution` averages to one."""
CHAINS: dict[Derived, str] = {
    "edges": "format=gray,edgedetect=low=0.1:high=0.3",
    "gray": "format=gray",
    "low_resolution": f"scale=iw/{COARSE}:ih/{COARSE}:flags=area,scale=iw*{COARSE}:ih*{COARSE}:flags=bilinear",
}


def derived_reference(frames: Pixels, derive: Derived, size: Size) -> Pixels:
    """The reference of frames uint8 [F, H, W, 3], scaled to `size` (width, height) first so that edges stay thin.

    Returns:
        uint8 [F, size[1], size[0], 3].
    """
    shown = [av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames]
    chain = Filter(shown[0], f"scale={size[0]}:{size[1]}:flags=area,{CHAINS[derive]},format=rgb24")
    made = [one for frame in shown for one in chain.put(frame)] + chain.end()
    return np.stack([one.to_ndarray(format="rgb24") for one in made])


def read_reference(path: Path, times: Sequence[float], size: Size, *, mirrored: bool = False) -> Pixels:
    """The frames of a file at these times, in seconds since its first frame; of an image, the same at all times.

    They are scaled to cover `size` (width, height) and cropped to the middle, as clips are.

    Returns:
        uint8 [len(times), size[1], size[0], 3].

    Raises:
        MediaError: the file cannot be decoded, or is shorter than the last time.
    """
    if is_video(path):
        covering = decode_frames(path, times, resize=lambda width, height: cover_size(width, height, size))
        frames = np.stack([middle(frame, size) for frame in covering])
    else:
        frames = np.repeat(still_image(path, size, QuarantineReason.BAD_REFERENCE)[None], len(times), axis=0)
    return np.ascontiguousarray(frames[:, :, ::-1]) if mirrored else frames


def still_image(path: Path, size: Size, reason: QuarantineReason) -> Pixels:
    """An image file that covers `size` (width, height): uint8 [H, W, 3].

    Raises:
        MediaError: of this reason, the image is damaged or gone.
    """
    try:
        return read_image(path, size)
    except DataError as error:
        raise MediaError(reason, str(error)) from error
