"""Everything of a clip that is encoded, decoded in one go: what a worker process is asked for."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets_spec.rows import Clip
from ltx_core.errors import ShapeError
from ltx_core.media.clip import clip_frames, clip_sound
from ltx_core.media.mask import mask_weights
from ltx_core.shapes import TIME_STRIDE

Floats = npt.NDArray[np.float32]


class WholeClip(NamedTuple):
    """Pixels uint8 [F, H, W, 3], samples float32 [2, N] or None, and weights float32 [F', H', W'] of a mask or None."""

    frames: npt.NDArray[np.uint8]
    sound: Floats | None
    weights: Floats | None


def whole_clip(clip: Clip) -> WholeClip:
    """Decode a clip; its sound where there is any that can be encoded.

    Raises:
        MediaError: one of its files cannot be read or decoded.
    """
    return WholeClip(clip_frames(clip), *beside_pictures(clip))


def beside_pictures(clip: Clip) -> tuple[Floats | None, Floats | None]:
    """The sound and the mask's weights of a `WholeClip`.

    Raises:
        MediaError: one of their files cannot be read or decoded.
    """
    return clip_sound(clip) if clip.has_sound else None, mask_weights(clip)


def latent_clip(clip: Clip) -> WholeClip:
    """The `latent_frames` of a clip, and no sound.

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
