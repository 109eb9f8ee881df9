"""Makes small video files that cameras, discs and capture cards leave, each with a known truth; PyAV alone is needed.

Every frame shows its number, as blocks of a Gray code, above eight patches of known colours; a texture moves behind.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Waveform = npt.NDArray[np.float32]
Add = Callable[[Any], list[Any]]
"""Adds a track to a container, and gives its packets."""
Frames = Sequence[Any] | Callable[[], Sequence[Any]]
"""Frames, or what draws them once they are needed."""

WIDTH, HEIGHT, BITS, BLOCK = 256, 160, 8, 32
PATCHES = (
    *((200, 30, 30), (30, 180, 40), (30, 40, 200), (200, 200, 40)),
    *((190, 40, 190), (40, 190, 190), (128, 128, 128), (235, 235, 235)),
)
"""Red, green, blue in 8-bit BT.709, left to right."""
WHITE_NITS = 203
BT709, BT2020 = (0.2126, 0.7152, 0.0722), (0.2627, 0.6780, 0.0593)
"""Weights of red, green and blue in luma."""
NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)
X264 = {"crf": "8", "preset": "veryfast"}
FIELDS_264 = X264 | {"flags": "+ilme+ildct"}
INTERLACED = {"flags": "+ilme+ildct", "top": "1", "qscale": "2", "g": "12"}
"""Options of encoders: of H.264, of its fields, and of MPEG-2's."""
PACKET = 2400
AUDIO_RATE = 48_000
ROUND_SECONDS = 20
"""After which the beeps of long audio begin again."""


@cache
def numbered(n: int) -> Pixels:
    """The frame [160, 256, 3] of number `n`."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    waves = [np.sin((x + 1.7 * n) / 23) + np.sin(y / 11), np.sin((y + 1.1 * n) / 19), np.sin((x + y - 0.9 * n) / 29)]
    shown = np.stack([110 + 45 * wave for wave in waves], axis=-1)
    for bit in range(BITS):
        shown[48:80, bit * BLOCK : (bit + 1) * BLOCK] = 215 if (n ^ n >> 1) >> bit & 1 else 40
    for place, patch in enumerate(PATCHES):
        shown[96:144, place * BLOCK : (place + 1) * BLOCK] = patch
    return shown.clip(0, 255).astype(np.uint8)


def number_in(shown: Pixels) -> int:
    """The number that a frame of any size in that shape shows."""
    blocks = _cells(shown, 48, 80).mean(axis=-1) > 127
    code = sum(int(bit) << place for place, bit in enumerate(blocks))
    number = code
    while code := code >> 1:
        number ^= code
    return number


def patch_errors(shown: Pixels) -> Floats:
    """By how much of 255 each patch's channels are off, [8, 3]."""
    return _cells(shown, 96, 144) - np.array(PATCHES)


def combing(shown: Pixels) -> float:
    """Share of pixels whose line is far from both neighbouring lines, to the same side: fields of different times."""
    luma = shown.astype(np.float64).mean(axis=-1)
    above, below = luma[1:-1] - luma[:-2], luma[1:-1] - luma[2:]
    return float(((above * below > 0) & (np.abs(above) > 24) & (np.abs(below) > 24)).mean())


def _cells(shown: Pixels, top: int, bottom: int) -> Floats:
    """Mean colours [8, 3] of the middles of the eight cells of a row."""
    scale = shown.shape[0] / HEIGHT
    rows = shown[round((top + 8) * scale) : round((bottom - 8) * scale)].astype(np.float64)
    width = shown.shape[1] / BITS
    return np.stack(
        [rows[:, round((n + 0.3) * width) : round((n + 0.7) * width)].mean(axis=(0, 1)) for n in range(BITS)]
    )


def woven(first: Pixels, second: Pixels, *, top_first: bool) -> Pixels:
    """A frame of two fields, one of an earlier and one of a later time."""
    top, bottom = (first, second) if top_first else (second, first)
    frame = top.copy()
    frame[1::2] = bottom[1::2]
    return frame


def fields(count: int, *, top_first: bool = True) -> list[Any]:
    """Interlaced frames of which frame n has the fields of numbers 2n and 2n+1."""
    return [rgb_frame(woven(numbered(2 * n), numbered(2 * n + 1), top_first=top_first)) for n in range(count)]


def telecined(count: int, *, top_first: bool = True, pattern: tuple[int, ...] = (2, 3)) -> list[Any]:
    """Film of `count` frames spread over fields, so many each in turns, from film's 24 frames a second to 30."""
    shown = [n for n in range(count) for _ in range(pattern[n % len(pattern)])]
    pairs = zip(shown[0::2], shown[1::2], strict=False)
    return [rgb_frame(woven(numbered(a), numbered(b), top_first=top_first)) for a, b in pairs]


def in_pq(shown: Pixels) -> Floats:
    """An SDR frame graded to PQ, its white at 203 cd/m2: signal [H, W, 3] in BT.2020 (ITU-R BT.2100-2, table 4)."""
    power = (_in_2020(shown) * WHITE_NITS / 10000) ** (2610 / 16384)
    return ((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def in_hlg(shown: Pixels) -> Floats:
    """An SDR frame graded to HLG, its white at 203 of 1000 cd/m2 (ITU-R BT.2100-2, table 5)."""
    light = _in_2020(shown) * WHITE_NITS / 1000
    luma = np.maximum(light @ np.array([0.2627, 0.6780, 0.0593]), 1e-9)
    scene = light * (luma ** (1 / 1.2 - 1))[..., None]
    curved = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), curved)


def in_2020(shown: Pixels) -> Floats:
    """An SDR frame in the gamut of BT.2020."""
    return _in_2020(shown) ** (1 / 2.4)


def in_p3(shown: Pixels) -> Floats:
    """An SDR frame in Display P3."""
    matrix = np.array([[0.8225, 0.1774, 0], [0.0332, 0.9669, 0], [0.0171, 0.0724, 0.9108]])
    return np.maximum((shown / 255) ** 2.4 @ matrix.T, 0) ** (1 / 2.4)


def _in_2020(shown: Pixels) -> Floats:
    """Light in BT.2020's primaries (ITU-R BT.2087-0)."""
    matrix = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    return (shown / 255) ** 2.4 @ matrix.T


def deep_frame(signal: Floats, luma: tuple[float, float, float]) -> Any:
    """A frame of 10-bit limited-range 4:4:4 from full-range R'G'B' signals and the matrix's luma weights."""
    red, _, blue = (signal[..., channel] for channel in range(3))
    y = signal @ np.array(luma)
    planes = [64 + 876 * y, 512 + 448 * (blue - y) / (1 - luma[2]), 512 + 448 * (red - y) / (1 - luma[0])]
    frame = av.VideoFrame(signal.shape[1], signal.shape[0], "yuv444p10le")
    for plane, levels in zip(frame.planes, planes, strict=True):
        lines = np.zeros((levels.shape[0], plane.line_size // 2), dtype="<u2")
        lines[:, : levels.shape[1]] = np.rint(levels)
        plane.update(lines.tobytes())
    return frame


def rgb_frame(shown: Pixels) -> Any:
    """A frame of 8-bit RGB."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")


def plain(count: int, first: int = 0) -> list[Any]:
    """Numbered frames as they are."""
    return [rgb_frame(numbered(n)) for n in range(first, first + count)]


def graded(grade: Callable[[Pixels], Floats], luma: tuple[float, float, float], count: int = 24) -> list[Any]:
    """Numbered frames, graded."""
    return [deep_frame(grade(numbered(n)), luma) for n in range(count)]


def transparent(count: int) -> list[Any]:
    """Numbered frames whose left quarter is transparent."""
    opaque = np.full((160, 256, 1), 255, dtype=np.uint8)
    opaque[:, :64] = 0
    frames = [np.concatenate([numbered(n), opaque], axis=-1) for n in range(count)]
    return [av.VideoFrame.from_ndarray(frame, format="rgba") for frame in frames]


def write(
    path: Path,
    frames: Frames,
    rate: Fraction | int = 25,
    *,
    audio: Add | None = None,
    muxer: Mapping[str, str] | None = None,
    container_format: str | None = None,
    **track: Any,
) -> Path:
    """Write frames; `audio` adds tracks beside them, `track` is what `_track` takes."""
    with av.open(str(path), "w", format=container_format, options=dict(muxer or {})) as container:
        encode = _track(container, frames, rate, **track)
        add_audio = audio(container) if audio is not None else []
        packets = [*encode(), *add_audio]
        # Muxers hold back 10 s at most, so packets of several tracks come in order of time.
        for packet in sorted(packets, key=_seconds) if add_audio else packets:
            container.mux(packet)
    return path


def _track(  # noqa: PLR0913  # a builder of test files: every argument is one property of the track
    container: Any,
    frames: Frames,
    rate: Fraction | int,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    colors: tuple[int, int, int] | None = None,
    stamps: Sequence[float] | None = None,
    default: bool | None = None,
    is_cover: bool = False,
) -> Callable[[], list[Any]]:
    """Add a video track, and give what encodes its packets. `colors`: ffmpeg's numbers of primaries, transfer and
    matrix. `stamps`: seconds, if not even. `default`: whether it is marked as the default track, if not by habit.
    `is_cover`: it is an image beside the film."""
    shown = frames() if callable(frames) else frames
    base = Fraction(1, 90_000) if stamps is not None else 1 / Fraction(rate)
    stream = container.add_stream(codec, rate=Fraction(rate))
    stream.width, stream.height, stream.pix_fmt = shown[0].width, shown[0].height, pix_fmt
    stream.codec_context.time_base = base
    stream.codec_context.options = dict(options or {})
    if colors is not None:
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = colors
        context.color_range = 1
    _mark(stream, default)
    if is_cover:
        stream.disposition = Disposition.attached_pic

    def encode() -> list[Any]:
        packets = []
        for n, frame in enumerate(shown):
            frame.pts, frame.time_base = n if stamps is None else round(stamps[n] / base), base
            packets += stream.encode(frame)
        return packets + stream.encode(None)

    return encode


def video_track(frames: Frames, rate: Fraction | int = 25, **how: Any) -> Add:
    """What adds another video track, as `write` makes one."""
    return lambda container: _track(container, frames, rate, **how)()


def several(*tracks: Add) -> Add:
    """What adds several tracks, in this order."""
    return lambda container: [packet for add in tracks for packet in add(container)]


def _mark(stream: Any, default: bool | None) -> None:
    if default is not None:
        stream.disposition = Disposition.default if default else Disposition(0)


def _seconds(packet: Any) -> float:
    return float(packet.dts * packet.time_base)


def beeps(seconds: float, clock: float = 1.0) -> Waveform:
    """A short beep every half second, each higher than the one before: [2, n] at 48 kHz, by a clock that goes `clock`
    times as fast as it should."""
    time = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE * clock
    number, since = np.divmod(time, 0.5)
    mono = np.where(since < 0.04, 0.5 * np.sin(2 * np.pi * (400 + 75 * number) * since), 0)
    return np.stack([mono, mono]).astype(np.float32)


def tone(seconds: float) -> Waveform:
    """Something else than beeps: 300 Hz."""
    mono = 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE)
    return np.stack([mono, mono]).astype(np.float32)


def pcm(audio: Waveform, stamp: Callable[[int], float] | None = None, *, default: bool | None = None) -> Add:
    """What adds 16-bit PCM to a container, in packets of `PACKET` samples; `stamp` says the seconds of the packet of
    each number, if they are not where its samples are."""

    def add(container: Any) -> list[Any]:
        stream = container.add_stream("pcm_s16le", rate=AUDIO_RATE, layout="stereo")
        _mark(stream, default)
        packets = []
        for number, start in enumerate(range(0, audio.shape[1], PACKET)):
            piece = np.rint(audio[:, start : start + PACKET].T * 32767).astype("<i2")
            made = av.Packet(piece.tobytes())
            seconds = start / AUDIO_RATE if stamp is None else stamp(number)
            made.stream, made.time_base = stream, Fraction(1, AUDIO_RATE)
            made.pts = made.dts = round(seconds * AUDIO_RATE)
            made.duration = piece.shape[0]
            packets.append(made)
        return packets

    return add


def coded(
    audio: Waveform, codec: str = "aac", *, begin: float = 0.0, rounds: int = 1, default: bool | None = None
) -> Add:
    """What adds compressed audio that begins at so many seconds and is repeated so many times."""

    def add(container: Any) -> list[Any]:
        stream = container.add_stream(codec, rate=AUDIO_RATE, layout="stereo")
        _mark(stream, default)
        packets, at = [], round(begin * AUDIO_RATE)
        for _ in range(rounds):
            for start in range(0, audio.shape[1], AUDIO_RATE):
                piece = np.ascontiguousarray(audio[:, start : start + AUDIO_RATE])
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
                frame.sample_rate, frame.time_base, frame.pts = AUDIO_RATE, Fraction(1, AUDIO_RATE), at
                at += piece.shape[1]
                packets += stream.encode(frame)
        return packets + stream.encode(None)

    return add
