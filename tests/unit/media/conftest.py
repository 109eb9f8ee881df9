"""Real media files, tiny, written with PyAV for each test."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from datasets_spec import Clip, DatasetSpec, Media
from ltx_core.io.digest import file_digest
from ltx_core.media.probe import probe_media

WIDTH, HEIGHT, BITS = 64, 48, 8
CLOCK = Fraction(1, 90_000)

Pixels = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.float32]
WriteVideo = Callable[..., Path]


def numbered(n: int) -> Pixels:
    """A picture [48, 64, 3] that shows `n` as eight black and white bands; survives lossy coding."""
    bits = [(n >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, dtype=np.uint8) * 200 + 20, WIDTH // BITS)
    return np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 3)).copy()


def read_number(picture: Pixels) -> int:
    """What `numbered` shows, from a picture of any size in that shape."""
    middle = picture[picture.shape[0] // 2].reshape(picture.shape[1], -1).mean(axis=1)
    bands = middle.reshape(BITS, -1)
    inner = bands[:, bands.shape[1] // 4 : -bands.shape[1] // 4 or None].mean(axis=1)
    return sum(int(level > 120) << bit for bit, level in enumerate(inner))


def flat(level: int, *, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Pixels:
    return np.full((size[1], size[0], 3), level, dtype=np.uint8)


@pytest.fixture
def write_video(tmp_path: Path) -> WriteVideo:
    def write(  # a builder of test files: every argument is one property of the file
        name: str,
        pictures: Sequence[Pixels],
        *,
        rate: float = 25.0,
        stamps: Sequence[float] | None = None,
        codec: str = "libx264",
        rotation: float | None = None,
        aspect: Fraction | None = None,
        sound: Sound | None = None,
        sound_rate: int = 48_000,
        sound_codec: str = "aac",
        sound_start: float = 0.0,
        layout: str = "stereo",
        options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        stamps = stamps if stamps is not None else [n / rate for n in range(len(pictures))]
        with av.open(str(path), "w", options=options or {}) as container:
            video = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuv420p"
            base = CLOCK if codec == "libx264" else 1 / Fraction(rate).limit_denominator(1001)
            video.codec_context.time_base = base
            if codec == "libx264":
                video.codec_context.options = {"crf": "4", "preset": "veryfast", "g": "60"}
            if aspect is not None:
                video.codec_context.sample_aspect_ratio = aspect
            if rotation is not None:
                video.set_display_rotation(rotation)
            packets: list[Any] = []
            audio = None
            if sound is not None:
                audio = container.add_stream(sound_codec, rate=sound_rate, layout=layout)
            for picture, stamp in zip(pictures, stamps, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = round(stamp / base), base
                packets += video.encode(frame)
            packets += video.encode(None)
            if audio is not None and sound is not None:
                for start in range(0, sound.shape[1], 1024):
                    piece = np.ascontiguousarray(sound[:, start : start + 1024])
                    out = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
                    out.sample_rate, out.time_base = sound_rate, Fraction(1, sound_rate)
                    out.pts = start + round(sound_start * sound_rate)
                    packets += audio.encode(out)
                packets += audio.encode(None)
            for packet in packets:
                container.mux(packet)
        return path

    return write


@pytest.fixture
def media_of() -> Callable[[Path], Media]:
    def build(path: Path) -> Media:
        info = probe_media(path)
        return Media(
            media_id=f"set/{path.name}",
            media_key=file_digest(path),
            dataset="set",
            relpath=path.name,
            path=str(path),
            caption="a test",
            **vars(info),
        )

    return build


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., DatasetSpec]:
    def build(resolution: float = 64, **more: Any) -> DatasetSpec:
        return DatasetSpec.model_validate(
            {"id": "set", "instance_data_dir": str(tmp_path), "resolution": resolution, **more}
        )

    return build


@pytest.fixture
def clip() -> Callable[..., Clip]:
    def build(**changes: Any) -> Clip:
        values: dict[str, Any] = {
            "clip_id": "set/a.mp4@000000000",
            "clip_key": "k",
            "media_id": "set/a.mp4",
            "media_key": "a" * 32,
            "dataset": "set",
            "path": "/nowhere/a.mp4",
            "caption": "a test",
            "start_seconds": 0.0,
            "frame_rate": 25.0,
            "num_frames": 9,
            "width": 64,
            "height": 64,
            "bucket": "64x64@9",
            "audio": "none",
            "audio_channels": 2,
            "split": "train",
            "repeats": 1,
            "sharpness": 0.01,
            "motion": 0.02,
            "black_fraction": 0.0,
            "frozen_fraction": 0.0,
            "loudness_db": -20.0,
            "perceptual_hash": "0123456789abcdef",
        }
        return Clip.model_validate(values | changes)

    return build


@pytest.fixture
def number() -> tuple[Callable[[int], Pixels], Callable[[Pixels], int]]:
    """Writer and reader of a number in a picture."""
    return numbered, read_number


@pytest.fixture
def plain() -> Callable[..., Pixels]:
    """Pictures of one grey level."""
    return flat
