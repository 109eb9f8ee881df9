"""A clip of the footage as a small mp4 and a poster, for pages that people look at."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets_spec.rows import Clip
from ltx_core.io.atomic import atomic_path
from ltx_core.media.clip import clip_audio, clip_frames
from ltx_core.media.mp4 import write_mp4
from ltx_core.shapes import AUDIO_RATE

EDGE = 320
"""Pixels of the longer edge; smaller clips keep their size."""


def write_preview(clip: Clip, video: Path, poster: Path) -> None:
    """Write the frames and the audio that training sees as an mp4 of at most `EDGE` pixels, and the middle frame.

    Raises:
        MediaError: the file cannot be read or decoded any more.
        StorageError: the disk is full or read-only.
    """
    frames = _small(clip_frames(clip))
    audio = clip_audio(clip) if clip.has_sound else None
    with atomic_path(poster) as partial:
        Image.fromarray(frames[len(frames) // 2]).save(partial, format="JPEG", quality=80)
    write_mp4(video, frames, clip.frame_rate, audio, AUDIO_RATE)


def _small(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Frames uint8 [F, H, W, 3] with even edges of at most `EDGE` pixels."""
    height, width = frames.shape[1:3]
    scale = EDGE / max(height, width)
    if scale >= 1:
        return frames
    size = max(round(width * scale / 2), 1) * 2, max(round(height * scale / 2), 1) * 2
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in frames])
