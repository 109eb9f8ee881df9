"""Colours beyond BT.709, and pictures with a profile of their own."""

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image, ImageCms

from datasets_spec import QuarantineReason
from ltx_core.errors import DataError
from ltx_core.media.display import SCALING, check_mappable, color_kind, to_bt709
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames
from ltx_core.media.image import read_image

WriteVideo = Callable[..., Path]


def tagged(primaries: int = 2, transfer: int = 2, matrix: int = 2, side_data: dict[str, bytes] | None = None) -> Any:
    return SimpleNamespace(
        color_primaries=primaries,
        color_trc=transfer,
        colorspace=matrix,
        side_data=side_data or {},
        format=SimpleNamespace(is_rgb=True),
    )


@pytest.mark.parametrize(
    ("nits", "level"), [(0, 0), (10, 73), (50, 142), (100, 190), (203, 250), (300, 255), (1000, 255), (10000, 255)]
)
def test_pq_luminances(nits: float, level: int) -> None:
    """Figures that docs/footage.md states: up to white as graded, above it compressed into the last levels."""
    power = (nits / 10000) ** (2610 / 16384)
    signal = ((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    gray = np.full((1, 1, 3), round(signal * 65535), dtype=np.uint16)
    assert to_bt709(gray, tagged(9, 16, 9)).tolist() == [[[level] * 3]]


def test_hues_of_highlights_are_kept() -> None:
    power = (np.array([[[800.0, 400.0, 200.0]]]) / 10000) ** (2610 / 16384)
    signal = ((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    red, green, blue = to_bt709(np.rint(signal * 65535).astype(np.uint16), tagged(1, 16, 0))[0, 0].tolist()
    assert red >= 254
    assert green == pytest.approx(255 * 0.5 ** (1 / 2.4), abs=2)
    assert blue == pytest.approx(255 * 0.25 ** (1 / 2.4), abs=2)


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ((1, 1, 1), "sdr"),
        ((2, 2, 2), "sdr"),
        ((6, 6, 6), "sdr"),
        ((1, 13, 1), "sdr"),
        ((9, 16, 9), "pq"),
        ((2, 16, 2), "pq"),
        ((9, 18, 9), "hlg"),
        ((9, 14, 9), "wide"),
        ((12, 13, 1), "wide"),
        ((12, 1, 1), "wide"),
    ],
)
def test_kinds(tags: tuple[int, int, int], kind: str) -> None:
    assert color_kind(tagged(*tags)) == kind


def dolby(profile: int, full_range: int) -> dict[str, bytes]:
    header = bytearray(64)
    header[4], header[10] = profile, full_range
    return {"DOVI_METADATA": (32).to_bytes(8, "little") + bytes(24) + bytes(header)}


@pytest.mark.parametrize(
    ("frame", "tag", "is_wrong"),
    [
        (tagged(), "dvh1", True),
        (tagged(side_data=dolby(0, 1)), "hvc1", True),
        (tagged(9, 18, 9, dolby(8, 0)), "hvc1", False),
        (tagged(9, 16, 9, dolby(0, 0)), "hvc1", False),
        (tagged(9, 16, 9), "dvh1", False),
        (tagged(9, 16, 14), "hvc1", True),
        (tagged(9, 16, 10), "hvc1", True),
        (tagged(1, 1, 1), "avc1", False),
    ],
)
def test_what_cannot_be_mapped_is_told(frame: Any, tag: str, is_wrong: bool) -> None:
    if not is_wrong:
        check_mappable(frame, tag, "a.mp4")
        return
    with pytest.raises(MediaError, match=r"a\.mp4 .*cannot be mapped") as caught:
        check_mappable(frame, tag, "a.mp4")
    assert caught.value.reason is QuarantineReason.HDR


def test_plain_footage_keeps_its_bytes(write_video: WriteVideo) -> None:
    """What swscale gives for BT.601, of which nothing is mapped, deinterlaced or blended."""
    rng = np.random.default_rng(2)
    shown = [np.repeat(np.repeat(rng.integers(0, 256, (6, 8, 3), np.uint8), 8, 0), 8, 1) for _ in range(9)]
    path = write_video("a.mp4", shown)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    plain = [
        VideoReformatter()
        .reformat(
            frame,
            width=96,
            height=72,
            format="rgb24",
            src_colorspace=Colorspace.ITU601,
            interpolation=SCALING,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        .to_ndarray()
        for frame in frames
    ]
    read = decode_frames(path, [n / 25 for n in range(9)], resize=lambda _w, _h: (96, 72))
    assert np.array_equal(np.stack(list(read)), np.stack(plain))


def profile_of(primaries: tuple[tuple[float, float, float], ...], gamma: float) -> bytes:
    """An ICC profile, version 2, of a display with these XYZ of red, green and blue (D50) and one gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    xyz = [b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values)) for values in primaries]
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1, 0.8249)))
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79)
    tags = {b"desc": text, b"wtpt": white, b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    tags |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), xyz, strict=True)) | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    place, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", place + len(data), len(padded))
        data += padded
    head = struct.pack(">I4sI4s4s4s", place + len(data), b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))


def test_profiles_of_pictures_are_followed(tmp_path: Path) -> None:
    pixels = np.full((64, 64, 3), (180, 60, 60), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, icc_profile=profile_of(P3, 2.2))
    red, green, _ = read_image(path, (64, 64))[32, 32].tolist()
    assert red > 190
    assert green < 50
    Image.fromarray(pixels).save(path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(read_image(path, (64, 64)), pixels), "sRGB is left as it is"
    Image.fromarray(pixels).save(path, icc_profile=b"no profile at all")
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(path, (64, 64))


def test_opacity_is_kept_where_a_profile_is_followed(tmp_path: Path) -> None:
    pixels = np.full((64, 64, 4), (180, 60, 60, 255), dtype=np.uint8)
    pixels[:, :32, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile_of(P3, 2.2))
    shown = read_image(tmp_path / "a.png", (64, 64))
    assert not shown[:, :31].any()
    assert shown[32, 48, 0] > 190


def test_print_colours_and_16_bits(tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = read_image(tmp_path / "a.jpg", (64, 64))[32, 32].tolist()
    assert red > 230
    assert max(green, blue) < 40
    gray = np.tile(np.arange(64, dtype=np.uint16) * 1024, (64, 1))
    Image.fromarray(gray).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png", (64, 64))[10, :, 0].tolist() == [4 * n for n in range(64)]
