"""Image files as footage: one frame of a still one, all of an animated one, and a reason where there is none."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_spec import DatasetSpec, Media, QuarantineReason
from ltx_core.media.clip import clip_frames
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames
from ltx_core.media.probe import probe_media
from ltx_core.media.quality import QualityThresholds
from ltx_core.media.split import split_media

RED, BLUE = (200, 0, 0), (0, 0, 200)
ANIMATION = [Image.new("RGB", (64, 32), color) for color in (RED, BLUE) * 5]


def half(mode: str = "RGB") -> Image.Image:
    """96x64, the left half red and the right one blue."""
    pixels = np.zeros((64, 96, 3), dtype=np.uint8)
    pixels[:, :48], pixels[:, 48:] = RED, BLUE
    return Image.fromarray(pixels).convert(mode)


def frames(path: Path, *times: float) -> np.ndarray:
    return np.stack(list(decode_frames(path, list(times))))


def test_a_still_image_is_one_frame_of_its_very_pixels(tmp_path: Path) -> None:
    half().save(tmp_path / "a.png")
    info = probe_media(tmp_path / "a.png")
    assert (info.container, info.width, info.height, info.num_frames, info.usual_rate) == ("png", 96, 64, 1, 1.0)
    assert (info.scan, info.colors, info.has_alpha, info.audio_codec) == ("progressive", "sdr", False, None)
    assert np.array_equal(frames(tmp_path / "a.png", 0.5)[0], np.asarray(half()))


def test_images_are_displayed_as_viewers_do(tmp_path: Path) -> None:
    """A phone's rotation, a palette with a transparent entry, CMYK, and a second image behind a camera's JPEG."""
    exif = Image.Exif()
    exif[0x0112] = 6
    half().save(tmp_path / "phone.jpg", exif=exif, quality=95)
    half("P").save(tmp_path / "clear.png", transparency=half("P").getpixel((0, 0)))
    half("CMYK").save(tmp_path / "print.jpeg", quality=95)
    half().save(tmp_path / "camera.jpg", format="MPO", save_all=True, append_images=[half(), half()])
    found = {path.name: probe_media(path) for path in tmp_path.iterdir()}
    assert {info.num_frames for info in found.values()} == {1}
    phone = found["phone.jpg"]
    assert (phone.width, phone.height, phone.rotation) == (64, 96, 90)
    turned = frames(tmp_path / "phone.jpg", 0)[0].astype(int)
    assert np.abs(turned[20] - RED).max() < 30, "turned clockwise, what was left is above"
    assert [name for name, info in found.items() if info.has_alpha] == ["clear.png"]
    clear = frames(tmp_path / "clear.png", 0)[0]
    assert (clear[0, 0].tolist(), clear[0, -1].tolist()) == ([0, 0, 0], [0, 0, 204]), (
        "on black; the palette has steps of 51"
    )
    assert np.abs(frames(tmp_path / "print.jpeg", 0)[0, 0, 0].astype(int) - RED).max() < 60


@pytest.mark.whole
def test_no_part_of_an_animation_is_taken_for_all_of_it(tmp_path: Path) -> None:
    """Pillow takes what there is of a GIF, or ends in an error about its own reading."""
    first, *others = ANIMATION
    first.save(tmp_path / "a.gif", save_all=True, append_images=others)
    whole = (tmp_path / "a.gif").read_bytes()
    for size in range(1, len(whole)):
        (tmp_path / "a.gif").write_bytes(whole[:size])
        with pytest.raises(MediaError):
            probe_media(tmp_path / "a.gif")


def test_a_clip_lies_on_the_ground_that_is_asked_for(
    tmp_path: Path, media_of: Callable[[Path], Media], spec: Callable[..., DatasetSpec]
) -> None:
    """Half of the image is transparent; an opaque one is known by the same key as without the option."""
    clear = half()
    clear.putalpha(Image.fromarray(np.repeat(np.uint8([[0] * 48 + [128] * 48]), 64, axis=0)))
    clear.save(tmp_path / "clear.png")
    half().save(tmp_path / "whole.png")
    found = {}
    for ground in ("black", "white"):
        for name in ("clear", "whole"):
            media = media_of(tmp_path / f"{name}.png")
            ((found[name, ground],), _) = split_media(media, spec(video={"alpha": ground}), QualityThresholds(2.0))
    assert found["whole", "black"].clip_key == found["whole", "white"].clip_key
    shown = {ground: clip_frames(found["clear", ground])[0] for ground in ("black", "white")}
    assert [shown[ground][32, 2].tolist() for ground in shown] == [[0, 0, 0], [255, 255, 255]]
    assert np.abs(shown["white"][32, -3].astype(int) - (127, 127, 227)).max() <= 2
    assert np.abs(shown["black"][32, -3].astype(int) - (0, 0, 100)).max() <= 2


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animated_image_is_a_video(tmp_path: Path, name: str) -> None:
    first, *others = ANIMATION
    first.save(tmp_path / name, save_all=True, append_images=others, duration=40, lossless=True)
    info = probe_media(tmp_path / name)
    assert (info.num_frames, info.usual_rate) == (10, 25.0)
    assert info.duration_seconds == pytest.approx(0.4)
    shown = frames(tmp_path / name, *(n / 25 + 0.02 for n in range(10)))
    assert [tuple(frame[0, 0].tolist()) for frame in shown] == [RED, BLUE] * 5


def cut(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()[: buffer.tell() // 2]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jpg", cut(half(), "JPEG"), QuarantineReason.TRUNCATED),
        ("a.png", cut(half(), "PNG"), QuarantineReason.TRUNCATED),
        ("a.webp", cut(half(), "WEBP"), QuarantineReason.TRUNCATED),
        ("a.jpg", b"", QuarantineReason.EMPTY_FILE),
        ("a.png", b"no image at all", QuarantineReason.NOT_MEDIA),
    ],
)
def test_what_is_no_whole_image_has_a_reason(
    tmp_path: Path, name: str, content: bytes, reason: QuarantineReason
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=name) as refused:
        probe_media(tmp_path / name)
    assert refused.value.reason is reason
