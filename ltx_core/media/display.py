"""Conversion of a decoded frame to what a player shows: aspect, rotation, mirroring, transparency, colours in BT.709.

Done here and not by swscale, whose own mapping leaves the saturated patches of an SDR frame graded to PQ up to 18 of
255 off, where the formulas of the standards leave 3.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import Colors, Ground
from ltx_core.media.errors import MediaError

Linear = npt.NDArray[np.float32]

WHITE_NITS = 203.0
"""Luminance of diffuse white in HDR (ITU-R BT.2408-7, 2.2); it becomes the white of BT.709."""
HLG_PEAK_NITS, HLG_GAMMA = 1000.0, 1.2
"""Of the reference display that HLG is seen on (ITU-R BT.2100-2, table 5)."""
SDR_GAMMA = 2.4
"""ITU-R BT.1886."""
KNEE = 0.95
"""Signal level from which highlights are compressed into what is left below 1."""
UNSPECIFIED = 2
"""In each of `ColorTags`."""
LEVELS = 65536
YUV_WHITE = 65280
"""The level of 16 bits that swscale gives white that was YUV: 255 * 256, and not 65535 as white that was RGB."""
BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
REC709_LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
BT2020_MATRIX = 9
"""ffmpeg's AVColorSpace of BT.2020 with non-constant luminance."""
UNREADABLE_MATRICES = {10: "BT.2020 with constant luminance", 13: "chromaticity-derived", 14: "ICtCp", 15: "IPT-C2"}
"""Those of AVColorSpace that swscale takes for something else."""
DOLBY_IPT_TAGS = ("dvh1", "dvhe", "dva1", "dvav", "dav1")
"""MP4 sample entries of Dolby Vision without a base layer that other decoders could show."""

XYZ_OF = {
    ColorPrimaries.BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    ColorPrimaries.BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    ColorPrimaries.SMPTE432: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""x and y of red, green and blue; all have the white D65 (BT.709, BT.2020, and Display P3: SMPTE EG 432-1)."""
D65 = (0.3127, 0.3290)


class ColorTags(NamedTuple):
    """Numbers of ffmpeg's AVColorPrimaries, AVColorTransferCharacteristic and AVColorSpace."""

    primaries: int
    transfer: int
    matrix: int


def color_tags(source: Any) -> ColorTags:
    """Those of a decoder or a frame."""
    return ColorTags(int(source.color_primaries), int(source.color_trc), int(source.colorspace))


def tag(frame: Any, stated: ColorTags) -> None:
    """Tell a frame that says nothing of its colours what its container says: ProRes often leaves it to that."""
    if set(color_tags(frame)) == {UNSPECIFIED} and set(stated) != {UNSPECIFIED}:
        frame.color_primaries, frame.color_trc, frame.colorspace = stated


def color_kind(frame: Any) -> Colors:
    """Return what a decoded frame's tags say; untagged frames are `sdr`."""
    if frame.color_trc == ColorTrc.SMPTE2084:
        return "pq"
    if frame.color_trc == ColorTrc.ARIB_STD_B67:
        return "hlg"
    return "wide" if frame.color_primaries in (ColorPrimaries.BT2020, ColorPrimaries.SMPTE432) else "sdr"


def check_mappable(frame: Any, codec_tag: str, source: str) -> None:
    """See that the frame's colours can be computed at all.

    Raises:
        MediaError: HDR, it is Dolby Vision of profile 5, or in a matrix that ffmpeg does not invert.
    """
    found = UNREADABLE_MATRICES.get(int(frame.colorspace))
    if _is_dolby_ipt(frame) or (codec_tag in DOLBY_IPT_TAGS and color_kind(frame) == "sdr"):
        found = "Dolby Vision of profile 5 (IPT without a base layer)"
    if found is not None:
        raise MediaError(
            QuarantineReason.HDR,
            f"the colours of {source} are {found}, which cannot be mapped to BT.709 here. Export it as SDR, HLG or "
            f"HDR10.",
        )


def to_bt709(deep: npt.NDArray[np.uint16], frame: Any) -> npt.NDArray[np.uint8]:
    """A frame [H, W, 3] of full-range 16-bit RGB as `frame` is tagged, in BT.709: uint8 [H, W, 3].

    PQ and HLG become light (BT.2100-2, tables 4 and 5) in which 203 cd/m2 is 1, other curves are taken for BT.1886;
    primaries are changed in light and what lies outside BT.709 is clipped; the brightest channel's signal above
    `KNEE` is compressed, the others keeping their proportion to it.
    """
    kind = color_kind(frame)
    primaries = ColorPrimaries.BT2020 if kind in ("pq", "hlg") else frame.color_primaries
    if frame.color_primaries in XYZ_OF:
        primaries = frame.color_primaries
    light = _light(kind, LEVELS - 1 if frame.format.is_rgb else YUV_WHITE)[deep]
    if kind == "hlg":
        luma = np.maximum(light @ BT2020_LUMA, np.float32(1e-12))
        light *= (luma ** np.float32(HLG_GAMMA - 1) * np.float32(HLG_PEAK_NITS / WHITE_NITS))[..., None]
    light = np.maximum(light @ _primaries(primaries).T, np.float32(0))
    peak = light.max(axis=-1)
    bright = peak > KNEE**SDR_GAMMA
    light[bright] *= (_compressed(peak[bright]) / peak[bright])[:, None]
    signal = np.minimum(light, np.float32(1)) ** np.float32(1 / SDR_GAMMA)
    return np.asarray(np.rint(signal * np.float32(255)), dtype=np.uint8)


def _is_dolby_ipt(frame: Any) -> bool:
    """Return whether its metadata are of profile 0 with a full-range base layer, which is how ffmpeg knows profile
    5."""
    metadata = frame.side_data.get("DOVI_METADATA")
    if metadata is None:
        return False
    # AVDOVIMetadata begins with the offset of its AVDOVIRpuDataHeader (libavutil/dovi_meta.h).
    raw = bytes(metadata)
    header = raw[int.from_bytes(raw[:8], "little") :]
    return header[4] == 0 and header[10] == 1


@functools.cache
def _light(kind: Colors, white: int) -> Linear:
    """Light of each of the 65536 levels, of which `white` is signal 1: in units of `WHITE_NITS`; of HLG, the scene's,
    from 0 to 1."""
    signal = np.minimum(np.arange(LEVELS, dtype=np.float64) / white, 1)
    if kind == "pq":
        root = signal ** (32 / 2523)
        low = np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)
        light = 10000 / WHITE_NITS * low ** (16384 / 2610)
    elif kind == "hlg":
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = signal**SDR_GAMMA
    return light.astype(np.float32)


@functools.cache
def _primaries(source: ColorPrimaries) -> Linear:
    """The matrix from light in `source`'s primaries to light in BT.709's."""
    return np.asarray(np.linalg.inv(_to_xyz(ColorPrimaries.BT709)) @ _to_xyz(source), dtype=np.float32)


def _to_xyz(primaries: ColorPrimaries) -> npt.NDArray[np.float64]:
    """The columns are X, Y, Z of each primary, scaled so that together they are white (SMPTE RP 177)."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in XYZ_OF[primaries]]).T
    x, y = D65
    return columns * np.linalg.solve(columns, np.array([x / y, 1, (1 - x - y) / y]))


def _compressed(light: Linear) -> Linear:
    """Light of at least the knee, any amount, compressed smoothly to below 1."""
    signal = light ** np.float32(1 / SDR_GAMMA)
    room = np.float32(1 - KNEE)
    return np.asarray((KNEE + room * (1 - np.exp((KNEE - signal) / room))) ** SDR_GAMMA, dtype=np.float32)


OPAQUE = 255
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""ffmpeg's own decoders of these leave out the opacity, which WebM stores beside the frame."""

Pixels = npt.NDArray[np.uint8]


def alpha_decoder(stream: Any) -> Any | None:
    """A decoder for a stream whose opacity its usual decoder would leave out; None if there is no such."""
    name = ALPHA_DECODERS.get(stream.codec.canonical_name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return None
    return av.CodecContext.create(name, "r")


def has_alpha(frame: Any) -> bool:
    """Return whether a decoded frame has a channel of opacity."""
    return any(component.is_alpha for component in frame.format.components)


def is_transparent(frame: Any) -> bool:
    """Return whether anything in a decoded frame is not opaque."""
    return has_alpha(frame) and bool((opacity(frame, (frame.width, frame.height), VideoReformatter()) < OPAQUE).any())


def opacity(frame: Any, size: tuple[int, int], scaler: VideoReformatter) -> Pixels:
    """Opacity of a frame with such a channel, scaled to (width, height): uint8 [H, W], `OPAQUE` where nothing shines
    through."""
    scaled = scaler.reformat(frame, width=size[0], height=size[1], format="rgba", threads=1)
    return np.asarray(scaled.to_ndarray()[..., 3], dtype=np.uint8)


GROUNDS: dict[Ground, int] = {"black": 0, "white": 255}
"""Levels of all channels."""


def laid_on(pixels: Pixels, opaque: Pixels, ground: Ground = "black") -> Pixels:
    """A frame [H, W, 3] or [H, W] whose colours are not multiplied by its opacity [H, W] yet, laid on a ground."""
    if bool((opaque == OPAQUE).all()):
        return pixels
    alpha = opaque if pixels.ndim == 2 else opaque[..., None]
    below = np.uint16(GROUNDS[ground]) * (OPAQUE - alpha.astype(np.uint16))
    return np.asarray((pixels.astype(np.uint16) * alpha + below + OPAQUE // 2) // OPAQUE, dtype=np.uint8)


UNSPECIFIED_COLORS = (0, 2, 3)
"""ffmpeg's AVColorSpace: RGB (no matrix to apply), unspecified, reserved."""
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
"""Bicubic with a support that grows when shrinking (so no aliasing); same result on every instruction set."""


@dataclass(frozen=True)
class Display:
    """The display of one file's frames; `width` and `height` are those of the shown frame, in square pixels."""

    width: int
    height: int
    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation(self) -> int:
        """Clockwise degrees, 0, 90, 180 or 270; of a mirrored frame, those of its left-to-right axis."""
        if self.transposed:
            return 270 if self.flip_y else 90
        return 180 if self.flip_x and self.flip_y else 0

    def turn(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A frame [H, W, ...] as stored, turned for display."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        if self.flip_x:
            pixels = pixels[:, ::-1]
        if self.flip_y:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


class TimedFrame(NamedTuple):
    """One decoded frame; `time`, `end` and their `tolerance` in seconds, from when the file's first frame is shown."""

    time: float
    end: float
    tolerance: float
    display: Display
    frame: Any


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


def as_displayed(
    frame: Any,
    display: Display,
    size: tuple[int, int],
    *,
    scaler: VideoReformatter,
    luma: bool = False,
    ground: Ground = "black",
) -> npt.NDArray[np.uint8]:
    """The frame as shown, scaled to `size` (width, height): uint8 [H, W, 3] full-range RGB, or [H, W] luma.

    `scaler` keeps its tables from frame to frame: give all frames of a file the same one. Untagged footage
    is taken for BT.709 in HD sizes and for BT.601 below, as players do. HDR and wide colours are mapped to BT.709;
    transparent footage is laid on `ground`.
    """
    stored = size[::-1] if display.transposed else size
    if color_kind(frame) == "sdr":
        shown = _plain(frame, stored, scaler, luma=luma)
    else:
        shown = _mapped(frame, stored, scaler, luma=luma)
    if has_alpha(frame):
        shown = laid_on(shown, opacity(frame, stored, VideoReformatter()), ground)
    return display.turn(shown)


def _plain(frame: Any, size: tuple[int, int], scaler: VideoReformatter, *, luma: bool) -> npt.NDArray[np.uint8]:
    """A frame as it is stored, scaled to `size`, in RGB or luma."""
    is_hd = frame.width >= 1280 or frame.height > 576
    colors = (Colorspace.ITU709 if is_hd else Colorspace.ITU601) if frame.colorspace in UNSPECIFIED_COLORS else None
    return np.asarray(_scaled(frame, size, scaler, "gray" if luma else "rgb24", colors), dtype=np.uint8)


def _mapped(frame: Any, size: tuple[int, int], scaler: VideoReformatter, *, luma: bool) -> npt.NDArray[np.uint8]:
    """A frame of more than BT.709's colours, as `_plain` gives others."""
    untagged = frame.colorspace in UNSPECIFIED_COLORS and not frame.format.is_rgb
    colors = Colorspace(BT2020_MATRIX) if untagged else None
    shown = to_bt709(np.asarray(_scaled(frame, size, scaler, "rgb48le", colors), dtype=np.uint16), frame)
    return np.asarray(np.rint(shown @ REC709_LUMA), dtype=np.uint8) if luma else shown


def _scaled(frame: Any, size: tuple[int, int], scaler: VideoReformatter, kind: str, colors: Colorspace | None) -> Any:
    scaled = scaler.reformat(
        frame,
        width=size[0],
        height=size[1],
        format=kind,
        src_colorspace=colors,
        interpolation=SCALING,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return scaled.to_ndarray()
