"""A clip: its identity, its pixels and its audio, which may come from a file of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import AudioKind, Clip
from ltx_core.io.digest import text_digest
from ltx_core.media.audio import Span, audio_and_gaps, decode_sound, to_channels
from ltx_core.media.buckets import cover_size
from ltx_core.media.errors import MediaError
from ltx_core.media.frames import decode_frames
from ltx_core.media.measure import SILENCE_DB, audio_kind, loudness_db
from ltx_core.shapes import AUDIO_RATE, AUDIO_STRIDE, MEL_HOP, audio_latent_frames

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
    return text_digest(own, *parts) if parts else own


def image_key(clip: Clip) -> str:
    """The key that the clip would have without audio and mask: equal for clips that differ in these alone."""
    return keyed(clip.model_copy(update={"audio_channels": 0, "sound_key": None, "mask_key": None}))


def audio_file(clip: Clip) -> Path:
    """The file that the clip's audio is cut from."""
    return Path(clip.sound_path or clip.path)


def clip_files(clip: Clip) -> dict[Path, str]:
    """Every file that the clip is read from, with the digest of its bytes."""
    pairs = [(clip.path, clip.media_key), (clip.sound_path, clip.sound_key), (clip.mask_path, clip.mask_key)]
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


def clip_frames(clip: Clip, check: Callable[[], None] | None = None) -> npt.NDArray[np.uint8]:
    """The clip's pixels: uint8 [F, H, W, 3] RGB, at its own rate, scaled to cover its size, the middle kept.

    `check` is called at every frame and may raise, to break off.

    Raises:
        MediaError: the file cannot be read or decoded any more.
    """
    bucket = (clip.width, clip.height)
    frames = np.empty((clip.num_frames, clip.height, clip.width, 3), dtype=np.uint8)
    covering = decode_frames(
        Path(clip.path),
        frame_times(clip),
        resize=lambda width, height: cover_size(width, height, bucket),
        scan=clip.scan,
    )
    for n, frame in enumerate(covering):
        if check is not None:
            check()
        frames[n] = middle(frame, bucket)
    return frames


def clip_audio(clip: Clip) -> npt.NDArray[np.float32] | None:
    """The clip's samples: float32 [2, N] at 16 kHz, for exactly its seconds; None where no audio is wanted or there is
    none.

    Raises:
        MediaError: the file or its audio cannot be decoded.
    """
    if clip.audio_channels == 0:
        return None
    sound = decode_sound(audio_file(clip), clip.start_seconds, clip_seconds(clip))
    return None if sound is None else to_channels(sound, clip.audio_channels)


def middle(frame: npt.NDArray[np.uint8], bucket: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The middle of a frame [H, W, ...] that covers `bucket` (width, height)."""
    top, left = (frame.shape[0] - bucket[1]) // 2, (frame.shape[1] - bucket[0]) // 2
    return frame[top : top + bucket[1], left : left + bucket[0]]


MISSING_SECONDS = 0.04
"""An audio latent frame. Shorter gaps are a codec's delay at either end, or a stamp's rounding."""


class Heard(NamedTuple):
    """What is heard in a span."""

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
    sound, gaps = to_channels(found[0], channels), found[1]
    absent = absent_latent_frames(gaps, seconds)
    if len(absent) == audio_latent_frames(seconds):
        return Heard("none", SILENCE_DB)  # all of the span lies before, after or between what there is
    return Heard(audio_kind(sound), loudness_db(sound), absent)


def absent_latent_frames(gaps: Sequence[Span], seconds: float) -> tuple[int, ...]:
    """Audio latent frames of a sound of `seconds` that overlap a gap of at least `MISSING_SECONDS`.

    The first stands for a hundredth of a second and each later one for the four that follow, as positions count them.
    """
    step = AUDIO_STRIDE * MEL_HOP / AUDIO_RATE
    late = step - MEL_HOP / AUDIO_RATE
    long = [gap for gap in gaps if gap.end - gap.start >= MISSING_SECONDS]
    spans = [(max(n * step - late, 0.0), (n + 1) * step - late) for n in range(audio_latent_frames(seconds))]
    return tuple(n for n, (start, end) in enumerate(spans) if any(g.start < end and start < g.end for g in long))


def with_audio(clip: Clip, sound: Heard, *, path: str, key: str, channels: int) -> Clip:
    """The clip with the audio of the same seconds of another file, `key` of whose bytes; as `heard` there."""
    changes = {"sound_path": path, "sound_key": key, "audio_channels": channels}
    made = clip.model_copy(update=changes | sound.of_clip())
    return made.model_copy(update={"clip_key": keyed(made)})
