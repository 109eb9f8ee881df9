"""A clip: its identity, its frames, its audio, which may come from a file of its own, and its mask."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import AudioKind, Clip
from ltx_core.errors import DataError, ShapeError
from ltx_core.io.digest import text_digest
from ltx_core.media.audio import Span, audio_and_gaps, decode_audio, to_channels
from ltx_core.media.buckets import Size, cover_size, middle
from ltx_core.media.errors import EndsEarlyError, MediaError
from ltx_core.media.find import is_video
from ltx_core.media.frames import decode_frames
from ltx_core.media.image import image_size
from ltx_core.media.measure import SILENCE_DB, audio_kind, loudness_db
from ltx_core.media.probe import probe_media
from ltx_core.media.reference import derived_reference, read_reference, still_image
from ltx_core.media.spectrogram import PICTURED, spectrogram
from ltx_core.shapes import AUDIO_RATE, AUDIO_STRIDE, MEL_HOP, SPACE_STRIDE, TIME_STRIDE, audio_latent_frames

CROP = "center"


def keyed(clip: Clip, crop: str = CROP) -> str:
    """Digest of everything but the program that fixes a clip's pixels and samples; equal for files of equal bytes
    wherever they are. What is kept of a clip has the version of its decoding in its key too."""
    size = f"{clip.width}x{clip.height}@{clip.num_frames}"
    span = f"{clip.start_seconds:.6f}s at {clip.frame_rate:.6f}"
    if clip.phase_seconds:
        span += f" + {clip.phase_seconds:.6f}s"
    own = text_digest("clip", clip.media_key, span, size, crop, f"{clip.audio_channels} channels")
    beside = {"sound": clip.sound_key, "mask": clip.mask_key}
    parts = [part for name, key in beside.items() if key is not None for part in (name, key)]
    parts += ["mirrored"] if clip.is_mirrored else []
    parts += [clip.ground] if clip.ground != "black" else []
    if clip.reference is not None:
        parts += ["reference", clip.reference_key or clip.reference, f"1/{clip.reference_downscale}"]
        parts += [f"every {clip.reference_stride}"] if clip.reference_stride > 1 else []
    parts += ["keyframes", *map(str, clip.keyframes)] if clip.keyframes else []
    parts += ["audio reference", clip.audio_reference_key] if clip.audio_reference_key is not None else []
    return text_digest(own, *parts) if parts else own


MIRRORED = "~mirrored"
"""Ends the id of a mirrored twin."""


def mirrored(clip: Clip) -> Clip:
    """The same clip with left and right exchanged, which is a clip of its own."""
    made = clip.model_copy(update={"clip_id": f"{clip.clip_id}{MIRRORED}", "is_mirrored": True})
    return made.model_copy(update={"clip_key": keyed(made)})


def image_key(clip: Clip) -> str:
    """The key that the clip would have without audio, mask, reference and keyframes: equal for clips that differ in
    these alone."""
    return video_key(clip.model_copy(update={"reference": None, "keyframes": []}))


def video_key(clip: Clip) -> str:
    """The key that the clip would have without audio and mask: equal for clips of which the video VAE encodes the
    same."""
    return keyed(
        clip.model_copy(update={"audio_channels": 0, "sound_key": None, "mask_key": None, "audio_reference_key": None})
    )


def audio_file(clip: Clip) -> Path:
    """The file that the clip's audio is cut from."""
    return Path(clip.sound_path or clip.path)


def clip_files(clip: Clip) -> dict[Path, str]:
    """Every file that the clip is read from, with the digest of its bytes."""
    pairs = [
        (clip.path, clip.media_key),
        (clip.sound_path, clip.sound_key),
        (clip.mask_path, clip.mask_key),
        (clip.reference_path, clip.reference_key),
        (clip.audio_reference_path, clip.audio_reference_key),
    ]
    return {Path(path): key for path, key in pairs if path is not None and key is not None}


def clip_id(media_id: str, start_seconds: float) -> str:
    """Name of a clip in a run: the file and the start in milliseconds, which sorts in order of time."""
    return f"{media_id}@{round(start_seconds * 1000):09d}"


def clip_seconds(clip: Clip) -> float:
    """Return how long a clip lasts, each frame's time on screen included."""
    return clip.num_frames / clip.frame_rate


def frame_times(clip: Clip) -> list[float]:
    """When a clip's frames are taken, in seconds on the file's clock."""
    return [clip.start_seconds + n / clip.frame_rate + clip.phase_seconds for n in range(clip.num_frames)]


def clip_frames(clip: Clip) -> npt.NDArray[np.uint8]:
    """The clip's pixels: uint8 [F, H, W, 3] RGB, at its own rate, scaled to cover its size, the middle kept; of audio
    alone, its spectrogram.

    Raises:
        MediaError: the file cannot be read or decoded any more.
    """
    if not clip.has_video:
        return np.repeat(_spectrogram_frame(clip)[None], clip.num_frames, axis=0)
    bucket = (clip.width, clip.height)
    frames = np.empty((clip.num_frames, clip.height, clip.width, 3), dtype=np.uint8)
    covering = decode_frames(
        Path(clip.path),
        frame_times(clip),
        resize=lambda width, height: cover_size(width, height, bucket),
        scan=clip.scan,
        ground=clip.ground,
    )
    for n, frame in enumerate(covering):
        shown = middle(frame, bucket)
        frames[n] = shown[:, ::-1] if clip.is_mirrored else shown
    return frames


def _spectrogram_frame(clip: Clip) -> npt.NDArray[np.uint8]:
    audio = clip_audio(clip)
    return spectrogram(np.zeros((2, 1), dtype=np.float32) if audio is None else audio, *PICTURED)


def clip_audio(clip: Clip) -> npt.NDArray[np.float32] | None:
    """The clip's samples: float32 [2, N] at 16 kHz, for exactly its seconds; None where no audio is wanted or there is
    none.

    Raises:
        MediaError: the file or its audio cannot be decoded.
    """
    if clip.audio_channels == 0:
        return None
    return _waveform(clip, audio_file(clip))


def _waveform(clip: Clip, path: Path) -> npt.NDArray[np.float32] | None:
    """The audio of a file in the seconds of the clip, as the clip has its own."""
    waveform = decode_audio(path, clip.start_seconds, clip_seconds(clip))
    if waveform is None:
        return None
    mixed = to_channels(waveform, clip.audio_channels)
    return np.ascontiguousarray(mixed[::-1]) if clip.is_mirrored else mixed


def clip_audio_reference(clip: Clip) -> npt.NDArray[np.float32] | None:
    """The samples of the audio that a clip's audio follows, as `clip_audio` gives its own; None without any.

    Raises:
        MediaError: the file cannot be decoded, or has no audio.
    """
    if clip.audio_reference_path is None or not clip.has_sound:
        return None
    path = Path(clip.audio_reference_path)
    waveform = _waveform(clip, path)
    if waveform is None:
        raise MediaError(QuarantineReason.BAD_REFERENCE, f"{path} holds no audio; put an audio file there")
    return waveform


MISSING_SECONDS = 0.04
"""An audio latent frame. Shorter gaps are a codec's delay at either end, or a stamp's rounding."""


class Heard(NamedTuple):
    """The audio of a span."""

    kind: AudioKind
    loudness: float
    """dBFS."""
    absent: tuple[int, ...] = ()
    """Audio latent frames at which the file has no audio; none where it has none at all."""

    def of_clip(self) -> dict[str, Any]:
        """As a clip's row has it."""
        return {"audio": self.kind, "loudness_db": self.loudness, "absent_sound": list(self.absent)}


def heard(path: Path, start_seconds: float, seconds: float, channels: int) -> Heard:
    """Return what kind of audio a span has, its level, and where there is none.

    Raises:
        MediaError: the file went away or changed since it was probed.
    """
    try:
        found = audio_and_gaps(path, start_seconds, seconds)
    except MediaError as error:
        if error.reason is not QuarantineReason.DECODE_ERROR:
            raise
        return Heard("broken", SILENCE_DB)  # the frames are still good; the clip's row says what its audio is
    if found is None:
        return Heard("none", SILENCE_DB)
    waveform, gaps = to_channels(found[0], channels), found[1]
    absent = absent_latent_frames(gaps, seconds)
    if len(absent) == audio_latent_frames(seconds):
        return Heard("none", SILENCE_DB)  # all of the span lies before, after or between what there is
    return Heard(audio_kind(waveform), loudness_db(waveform), absent)


def absent_latent_frames(gaps: Sequence[Span], seconds: float) -> tuple[int, ...]:
    """Audio latent frames of audio of `seconds` that overlap a gap of at least `MISSING_SECONDS`.

    The first stands for a hundredth of a second and each later one for the four that follow, as positions count them.
    """
    step = AUDIO_STRIDE * MEL_HOP / AUDIO_RATE
    late = step - MEL_HOP / AUDIO_RATE
    long = [gap for gap in gaps if gap.end - gap.start >= MISSING_SECONDS]
    spans = [(max(n * step - late, 0.0), (n + 1) * step - late) for n in range(audio_latent_frames(seconds))]
    return tuple(n for n, (start, end) in enumerate(spans) if any(g.start < end and start < g.end for g in long))


def with_audio(clip: Clip, audio: Heard, *, path: str, key: str, channels: int) -> Clip:
    """The clip with the audio of the same seconds of another file, `key` of whose bytes; as `heard` there."""
    changes = {"sound_path": path, "sound_key": key, "audio_channels": channels}
    made = clip.model_copy(update=changes | audio.of_clip())
    return made.model_copy(update={"clip_key": keyed(made)})


Cells = npt.NDArray[np.float32]
SHAPE_TOLERANCE = 0.02
"""By which the sides' ratio of a mask may differ from its video's: beyond, both would be cropped differently."""


def check_shape(path: Path, size: Size, what: str, reason: QuarantineReason) -> None:
    """See that a mask or a reference can be read and has the shape of its video, which is displayed at `size` (width,
    height). `what` it is, for messages.

    Raises:
        MediaError: `reason`, it has another shape or is no image; or why the video cannot be read.
    """
    if is_video(path):
        info = probe_media(path)
        width, height = info.width, info.height
    else:
        try:
            width, height = image_size(path)
        except DataError as error:
            raise MediaError(reason, str(error)) from error
    if abs(width * size[1] - height * size[0]) > SHAPE_TOLERANCE * width * size[1]:
        raise MediaError(
            reason,
            f"{what} {path} is {width}x{height} and its video {size[0]}x{size[1]}; the same shape is wanted, of any "
            f"size",
        )


@contextmanager
def lasting(what: str, path: Path, reason: QuarantineReason) -> Iterator[None]:
    """Say of a mask or a reference that ends before its video that it is too short: it may well be whole.

    Raises:
        MediaError: `reason`, it is.
    """
    try:
        yield
    except EndsEarlyError as error:
        why = f"{what} {path} is shorter than its video: {error.span}. Give it the video's length, or give an image."
        raise MediaError(reason, why) from error


def mask_weights(clip: Clip) -> Cells | None:
    """Return how much of each latent place of a clip is white in its mask: float32 [F', H', W'] in [0, 1]; None without
    one.

    A place is 32x32 pixels of 8 frames, of the first frame alone at the beginning; of an image, the same at all times.
    A mask that is a video has the video's clock.

    Raises:
        MediaError: BAD_MASK, no place of the clip is white at all, its video is too short, or its image is damaged or
            gone; or why its video cannot be decoded.
    """
    if clip.mask_path is None:
        return None
    path, size = Path(clip.mask_path), (clip.width, clip.height)
    if is_video(path):
        frames = decode_frames(path, frame_times(clip), resize=lambda width, height: cover_size(width, height, size))
        with lasting("mask", path, QuarantineReason.BAD_MASK):
            weights = over_time(np.stack([cells(middle(frame, size)) for frame in frames]))
    else:
        still = cells(still_image(path, size, QuarantineReason.BAD_MASK))
        weights = np.repeat(still[None], (clip.num_frames - 1) // TIME_STRIDE + 1, axis=0)
    if not weights.any():
        raise MediaError(
            QuarantineReason.BAD_MASK,
            f"mask {path} is black in all of {clip.clip_id}, which leaves nothing to train on; make some of it white",
        )
    return np.ascontiguousarray(weights[..., ::-1]) if clip.is_mirrored else weights


def cells(frame: npt.NDArray[np.uint8]) -> Cells:
    """Mean brightness in [0, 1] of each 32x32 pixels: uint8 [H, W, 3] to [H', W']."""
    height, width = frame.shape[0] // SPACE_STRIDE, frame.shape[1] // SPACE_STRIDE
    grid = frame.reshape(height, SPACE_STRIDE, width, SPACE_STRIDE, frame.shape[2])
    return (grid.mean(axis=(1, 3, 4)) / 255).astype(np.float32)


def over_time(frames: Cells) -> Cells:
    """[F, H', W'] of 8k+1 frames to [F', H', W']: the first alone, then means of eight."""
    later = frames[1:].reshape(-1, TIME_STRIDE, *frames.shape[1:]).mean(axis=1)
    return np.concatenate([frames[:1], later]).astype(np.float32)


Floats = npt.NDArray[np.float32]


class WholeClip(NamedTuple):
    """Pixels uint8 [F, H, W, 3], samples float32 [2, N] or None, weights float32 [F', H', W'] of a mask or None,
    pixels of a reference or None, and samples of an audio reference or None."""

    frames: npt.NDArray[np.uint8]
    audio: Floats | None
    weights: Floats | None
    reference: npt.NDArray[np.uint8] | None = None
    audio_reference: Floats | None = None


def whole_clip(clip: Clip) -> WholeClip:
    """Decode a clip; its audio where there is any that can be encoded.

    Raises:
        MediaError: one of its files cannot be read or decoded.
    """
    frames = clip_frames(clip)
    audio, weights, audio_reference = beside_images(clip)
    return WholeClip(frames, audio, weights, clip_reference(clip, frames), audio_reference)


def clip_reference(clip: Clip, frames: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8] | None:
    """The pixels of a clip's reference, uint8 [F, H, W, 3] of its own size; None without one. `frames` are the clip's,
    which are decoded again for one that is made of them and does not have them.

    Raises:
        MediaError: a file cannot be read or decoded, or the reference is shorter than the clip.
    """
    if clip.reference is None:
        return None
    if clip.reference == "file":
        assert clip.reference_path is not None  # such a clip has one
        path = Path(clip.reference_path)
        times = frame_times(clip)
        shown = [times[number] for number in clip.reference_numbers]
        with lasting("reference", path, QuarantineReason.BAD_REFERENCE):
            return read_reference(path, shown, clip.reference_size, mirrored=clip.is_mirrored)
    frames = clip_frames(clip) if frames is None else frames
    return derived_reference(frames[clip.reference_numbers], clip.reference, clip.reference_size)


def beside_images(clip: Clip) -> tuple[Floats | None, Floats | None, Floats | None]:
    """The audio, the mask's weights and the audio reference of a `WholeClip`.

    Raises:
        MediaError: one of their files cannot be read or decoded.
    """
    return clip_audio(clip) if clip.has_sound else None, mask_weights(clip), clip_audio_reference(clip)


def latent_clip(clip: Clip) -> WholeClip:
    """The `latent_frames` of a clip, and no audio.

    Raises:
        MediaError: the file cannot be read or decoded.
    """
    frames = latent_frames(clip_frames(clip))
    return WholeClip(np.ascontiguousarray(frames), None, None)


def latent_frames(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Of a clip's frames [8(F-1)+1, ...] the last one that each latent frame stands for: [F, ...].

    These are numbers 0, 8, 16, ...: latent frame 0 is pixel frame 0 alone, latent frame f is 8f-7 to 8f. They are also
    the F frames at even distances from the first to the last.

    Raises:
        ShapeError: that is no clip which the VAE takes.
    """
    if len(frames) % TIME_STRIDE != 1:
        raise ShapeError(f"{len(frames)} frames; 8k+1 are wanted")
    return frames[::TIME_STRIDE]


def some_frames(clip: Clip, picked: list[int]) -> npt.NDArray[np.uint8]:
    """Of a clip's pixels those of the frames with these numbers, [n, H, W, 3].

    Raises:
        MediaError: the file cannot be read or decoded.
    """
    return clip_frames(clip)[picked]
