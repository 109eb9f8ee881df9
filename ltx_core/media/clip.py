"""A clip's identity, its pixels and its samples. Encoding and looking at a clip both come here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets_spec.rows import Clip
from ltx_core.files.digest import text_digest
from ltx_core.media.buckets import cover_size
from ltx_core.media.frames import decode_frames
from ltx_core.media.sound import decode_sound, to_channels

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


def picture_key(clip: Clip) -> str:
    """The key that the clip would have without sound and mask: equal for clips that differ in these alone."""
    return keyed(clip.model_copy(update={"audio_channels": 0, "sound_key": None, "mask_key": None}))


def sound_file(clip: Clip) -> Path:
    """The file that the clip's sound is cut from."""
    return Path(clip.sound_path or clip.path)


def clip_files(clip: Clip) -> dict[Path, str]:
    """Every file that the clip is read from, with the digest of its bytes."""
    pairs = [(clip.path, clip.media_key), (clip.sound_path, clip.sound_key), (clip.mask_path, clip.mask_key)]
    return {Path(path): key for path, key in pairs if path is not None and key is not None}


def clip_id(media_id: str, start_seconds: float) -> str:
    """Name of a clip in a run: the file and the start in milliseconds, which sorts in order of time."""
    return f"{media_id}@{round(start_seconds * 1000):09d}"


def clip_seconds(clip: Clip) -> float:
    """How long a clip lasts, each frame's time on screen included."""
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


def clip_sound(clip: Clip) -> npt.NDArray[np.float32] | None:
    """The clip's samples: float32 [2, N] at 16 kHz, for exactly its seconds; None where no sound is wanted or there is
    none.

    Raises:
        MediaError: the file or its sound cannot be decoded.
    """
    if clip.audio_channels == 0:
        return None
    sound = decode_sound(sound_file(clip), clip.start_seconds, clip_seconds(clip))
    return None if sound is None else to_channels(sound, clip.audio_channels)


def middle(frame: npt.NDArray[np.uint8], bucket: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The middle of a picture [H, W, ...] that covers `bucket` (width, height)."""
    top, left = (frame.shape[0] - bucket[1]) // 2, (frame.shape[1] - bucket[0]) // 2
    return frame[top : top + bucket[1], left : left + bucket[0]]
