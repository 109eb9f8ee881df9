"""How a decoded frame becomes the picture that a player shows: pixel aspect, rotation, mirroring, colours."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from ltx_core.media.colors import BT2020_MATRIX, REC709_LUMA, color_kind, to_bt709
from ltx_core.media.transparency import has_alpha, on_black, opacity

UNSPECIFIED_COLORS = (0, 2, 3)
"""ffmpeg's AVColorSpace: RGB (no matrix to apply), unspecified, reserved."""
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
"""Bicubic with a support that grows when shrinking (so no aliasing); same result on every instruction set."""


@dataclass(frozen=True)
class Display:
    """How frames of one file are shown; `width` and `height` are those of the shown picture, in square pixels."""

    width: int
    height: int
    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation(self) -> int:
        """Clockwise degrees, 0, 90, 180 or 270; of a mirrored picture, those of its left-to-right axis."""
        if self.transposed:
            return 270 if self.flip_y else 90
        return 180 if self.flip_x and self.flip_y else 0

    def turn(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A picture [H, W, ...] as stored, turned for display."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return np.ascontiguousarray(picture)


def display_of(frame: Any, sample_aspect_ratio: Any) -> Display:
    """Read a decoded frame's display matrix and its stream's pixel aspect (width by height of one pixel, or None)."""
    aspect = float(sample_aspect_ratio or 1)
    width, height = max(round(frame.width * aspect), 1), frame.height
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Display(width, height)
    # [a b u; c d v; x y w] in fixed point: a pixel at (x, y) is shown at (a x + c y, b x + d y), y downwards
    # (ISO/IEC 14496-12, 8.3.2.3). Angles between right angles are taken to the nearest one.
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    if math.hypot(b, c) > math.hypot(a, d):
        return Display(height, width, transposed=True, flip_x=c < 0, flip_y=b < 0)
    return Display(width, height, flip_x=a < 0, flip_y=d < 0)


def picture(
    frame: Any, display: Display, size: tuple[int, int], *, scaler: VideoReformatter, luma: bool = False
) -> npt.NDArray[np.uint8]:
    """The frame as shown, scaled to `size` (width, height): uint8 [H, W, 3] full-range RGB, or [H, W] luma.

    `scaler` keeps its tables from frame to frame: give all frames of a file the same one. Untagged footage
    is taken for BT.709 in HD sizes and for BT.601 below, as players do. HDR and wide colours are mapped to BT.709;
    transparent footage is laid on black.
    """
    stored = size[::-1] if display.transposed else size
    if color_kind(frame) == "sdr":
        shown = _plain(frame, stored, scaler, luma=luma)
    else:
        shown = _mapped(frame, stored, scaler, luma=luma)
    if has_alpha(frame):
        shown = on_black(shown, opacity(frame, stored, VideoReformatter()))
    return display.turn(shown)


def _plain(frame: Any, size: tuple[int, int], scaler: VideoReformatter, *, luma: bool) -> npt.NDArray[np.uint8]:
    """A frame as it is stored, scaled to `size`, in RGB or luma."""
    is_hd = frame.width >= 1280 or frame.height > 576
    colors = (Colorspace.ITU709 if is_hd else Colorspace.ITU601) if frame.colorspace in UNSPECIFIED_COLORS else None
    scaled = scaler.reformat(
        frame,
        width=size[0],
        height=size[1],
        format="gray" if luma else "rgb24",
        src_colorspace=colors,
        interpolation=SCALING,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return np.asarray(scaled.to_ndarray(), dtype=np.uint8)


def _mapped(frame: Any, size: tuple[int, int], scaler: VideoReformatter, *, luma: bool) -> npt.NDArray[np.uint8]:
    """A frame of more than BT.709's colours, as `_plain` gives others."""
    untagged = frame.colorspace in UNSPECIFIED_COLORS and not frame.format.is_rgb
    scaled = scaler.reformat(
        frame,
        width=size[0],
        height=size[1],
        format="rgb48le",
        src_colorspace=Colorspace(BT2020_MATRIX) if untagged else None,
        interpolation=SCALING,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    shown = to_bt709(np.asarray(scaled.to_ndarray(), dtype=np.uint16), frame)
    return np.asarray(np.rint(shown @ REC709_LUMA), dtype=np.uint8) if luma else shown
