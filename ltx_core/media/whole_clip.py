"""Everything of a clip that is encoded, decoded in one go in a worker process, with the mask of where it is trained."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.rows import Clip
from ltx_core.errors import DataError, ShapeError
from ltx_core.media.buckets import Size, cover_size
from ltx_core.media.clip import clip_audio, clip_frames, frame_times, middle
from ltx_core.media.errors import MediaError
from ltx_core.media.find import VIDEO_SUFFIXES
from ltx_core.media.frames import decode_frames
from ltx_core.media.image import picture_size, read_picture
from ltx_core.media.probe import probe_media
from ltx_core.shapes import SPACE_STRIDE, TIME_STRIDE

Cells = npt.NDArray[np.float32]
SHAPE_TOLERANCE = 0.02
"""By which the sides' ratio of a mask may differ from its video's: beyond, both would be cropped differently."""


def check_mask(path: Path, size: Size) -> None:
    """See that a mask can be read and has the shape of its video, which is displayed at `size` (width, height).

    Raises:
        MediaError: BAD_MASK, it has another shape or is no image; or why the video cannot be read.
    """
    if is_video(path):
        info = probe_media(path)
        width, height = info.width, info.height
    else:
        try:
            width, height = picture_size(path)
        except DataError as error:
            raise MediaError(QuarantineReason.BAD_MASK, str(error)) from error
    if abs(width * size[1] - height * size[0]) > SHAPE_TOLERANCE * width * size[1]:
        raise MediaError(
            QuarantineReason.BAD_MASK,
            f"mask {path} is {width}x{height} and its video {size[0]}x{size[1]}; the same shape is wanted, of any size",
        )


def mask_weights(clip: Clip) -> Cells | None:
    """Return how much of each latent place of a clip is white in its mask: float32 [F', H', W'] in [0, 1]; None without
    one.

    A place is 32x32 pixels of 8 frames, of the first frame alone at the beginning; of an image, the same at all times.
    A mask that is a video has the video's clock.

    Raises:
        MediaError: BAD_MASK, no place of the clip is white at all, or its image is damaged or gone; or why its video
            cannot be decoded.
    """
    if clip.mask_path is None:
        return None
    path, size = Path(clip.mask_path), (clip.width, clip.height)
    if is_video(path):
        frames = decode_frames(path, frame_times(clip), resize=lambda width, height: cover_size(width, height, size))
        weights = over_time(np.stack([cells(middle(frame, size)) for frame in frames]))
    else:
        still = cells(_image(path, size))
        weights = np.repeat(still[None], (clip.num_frames - 1) // TIME_STRIDE + 1, axis=0)
    if not weights.any():
        raise MediaError(
            QuarantineReason.BAD_MASK,
            f"mask {path} is black in all of {clip.clip_id}, which leaves nothing to train on; make some of it white",
        )
    return weights


def _image(path: Path, size: Size) -> npt.NDArray[np.uint8]:
    try:
        return read_picture(path, size)
    except DataError as error:
        raise MediaError(QuarantineReason.BAD_MASK, str(error)) from error


def is_video(path: Path) -> bool:
    """Return whether a mask is a video, by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


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
    """Pixels uint8 [F, H, W, 3], samples float32 [2, N] or None, and weights float32 [F', H', W'] of a mask or None."""

    frames: npt.NDArray[np.uint8]
    sound: Floats | None
    weights: Floats | None


def whole_clip(clip: Clip) -> WholeClip:
    """Decode a clip; its audio where there is any that can be encoded.

    Raises:
        MediaError: one of its files cannot be read or decoded.
    """
    return WholeClip(clip_frames(clip), *beside_images(clip))


def beside_images(clip: Clip) -> tuple[Floats | None, Floats | None]:
    """The sound and the mask's weights of a `WholeClip`.

    Raises:
        MediaError: one of their files cannot be read or decoded.
    """
    return clip_audio(clip) if clip.has_sound else None, mask_weights(clip)


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
