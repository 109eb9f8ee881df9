"""A picture and a sound of one's own, to start renders from: neither is a part of the corpus."""

import wave
from pathlib import Path

import numpy as np
from PIL import Image

from ltx_core.files.atomic import atomic_path
from ltx_core.miniature.scenes import draw
from ltx_core.miniature.sounds import play

PICTURE, PICTURE_SIZE = "talking_face", (200, 150)
SOUND, SOUND_SECONDS, SOUND_RATE = "birds", 2.0, 48_000


def write_picture(path: Path) -> Path:
    """Write a PNG of another shape than renders have, so that it is cropped.

    Raises:
        StorageError: the disk is full or read-only.
    """
    with atomic_path(path) as partial:
        Image.fromarray(draw(PICTURE, 0.3, 1.0, PICTURE_SIZE)).save(partial, format="PNG")
    return path


def write_sound(path: Path) -> Path:
    """Write a WAV file of 16 bits, stereo.

    Raises:
        StorageError: the disk is full or read-only.
    """
    samples = np.round(play(SOUND, SOUND_SECONDS, SOUND_RATE) * 32767).astype("<i2")
    with atomic_path(path) as partial, wave.open(str(partial), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes(samples.T.tobytes())
    return path
