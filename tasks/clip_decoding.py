"""Clips decoded ahead of the VAE or the frame encoder. Needs torch when imported."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt
import torch

from datasets_spec import Clip
from ltx_core.autoencoder.encoding import Decoded
from ltx_core.media.ahead import Leaving, Window, default_workers, run_ahead
from ltx_core.media.clip import clip_frames, clip_seconds, clip_sound
from ltx_core.media.errors import MediaError
from ltx_core.media.mask import mask_weights
from ltx_core.progress import stop_if_asked
from ltx_core.vision.frames import latent_frames
from tasks.stage import Work

HEARD = ("voiced", "other", "silent")
"""Kinds of sound that are encoded; only the first two are trained on."""
SOUND_BYTES = 2 * 4 * 16_000
"""A second of it."""
MIB = 2**20
Decode = Callable[[tuple[str, Clip], Leaving], Decoded]


def decoded_clips(
    clips: Sequence[tuple[str, Clip]],
    work: Work,
    refused: dict[str, MediaError],
    decode: Decode | None = None,
) -> Generator[Decoded, None, None]:
    """Each (key, clip) in order; what cannot be decoded goes to `refused`, by key, and holds up nothing else.
    `decode`: default all frames, and the sound.

    Raises:
        Stopped: the stage was asked to stop.
    """
    config = work.config
    window = Window(config.decode_workers or default_workers(), config.decode_ahead_mib * MIB)
    ahead = run_ahead(
        clips,
        decode or _decode,
        size=_num_bytes,
        window=window,
        check=lambda: stop_if_asked(work.progress, "decoding clips"),
        apart=MediaError,
    )
    with closing(ahead) as results:
        for (key, _), result in results:
            if isinstance(result, MediaError):
                refused[key] = result
            else:
                yield result


def decode_latent_frames(item: tuple[str, Clip], leaving: Leaving) -> Decoded:
    """The frames that latent frames stand for, [F, H, W, 3], and no sound."""
    key, clip = item
    frames = latent_frames(torch.from_numpy(clip_frames(clip, leaving.check)))
    return Decoded(key, frames.clone(), None)  # or the frames between would be held too


def _decode(item: tuple[str, Clip], leaving: Leaving) -> Decoded:
    key, clip = item
    frames = torch.from_numpy(clip_frames(clip, leaving.check))
    sound = clip_sound(clip) if clip.audio in HEARD else None
    return Decoded(key, frames, _tensor(sound), _tensor(mask_weights(clip)))


def _tensor(array: npt.NDArray[np.float32] | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array)


def _num_bytes(item: tuple[str, Clip]) -> int:
    _, clip = item
    return 3 * clip.num_frames * clip.height * clip.width + round(SOUND_BYTES * clip_seconds(clip))
