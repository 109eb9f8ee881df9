"""Transparent video on black, as it is trained."""

from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

OPAQUE = 255
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""ffmpeg's own decoders of these leave out the opacity, which WebM stores beside the picture."""

Pixels = npt.NDArray[np.uint8]


def alpha_decoder(stream: Any) -> Any | None:
    """A decoder for a stream whose opacity its usual decoder would leave out; None if there is no such."""
    name = ALPHA_DECODERS.get(stream.codec.canonical_name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return None
    return av.CodecContext.create(name, "r")


def has_alpha(frame: Any) -> bool:
    """Whether a decoded frame has a channel of opacity."""
    return any(component.is_alpha for component in frame.format.components)


def is_transparent(frame: Any) -> bool:
    """Whether anything in a decoded frame is not opaque."""
    return has_alpha(frame) and bool((opacity(frame, (frame.width, frame.height), VideoReformatter()) < OPAQUE).any())


def opacity(frame: Any, size: tuple[int, int], scaler: VideoReformatter) -> Pixels:
    """Opacity of a frame with such a channel, scaled to (width, height): uint8 [H, W], `OPAQUE` where nothing shines
    through."""
    scaled = scaler.reformat(frame, width=size[0], height=size[1], format="rgba", threads=1)
    return np.asarray(scaled.to_ndarray()[..., 3], dtype=np.uint8)


def on_black(picture: Pixels, opaque: Pixels) -> Pixels:
    """A picture [H, W, 3] or [H, W] whose colours are not multiplied by its opacity [H, W] yet, laid on black."""
    if bool((opaque == OPAQUE).all()):
        return picture
    share = opaque if picture.ndim == 2 else opaque[..., None]
    return np.asarray((picture.astype(np.uint16) * share + OPAQUE // 2) // OPAQUE, dtype=np.uint8)
