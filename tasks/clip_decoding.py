"""Clips decoded ahead of the VAE or the frame encoder. Needs torch when imported."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from datasets_spec import Clip
from ltx_core.autoencoder.encoding import Decoded
from ltx_core.media.ahead import Leaving, Window, default_workers, run_ahead
from ltx_core.media.clip import clip_files, clip_seconds
from ltx_core.media.errors import MediaError
from ltx_core.media.unchanged import read_unchanged
from ltx_core.media.whole_clip import WholeClip, whole_clip
from ltx_core.media.workers import limits_of, read_apart
from ltx_core.progress import stop_if_asked
from tasks.stage_run import StageRun

SOUND_BYTES = 2 * 4 * 16_000
"""A second of it."""
MIB = 2**20


def decoded_clips(
    clips: Sequence[tuple[str, Clip]],
    run: StageRun,
    refused: dict[str, MediaError],
    decode: Callable[[Clip], WholeClip] = whole_clip,
) -> Generator[Decoded, None, None]:
    """Each (key, clip) in order, decoded in worker processes; what cannot be decoded goes to `refused`, by key, and
    holds up nothing else. `decode`: default all frames, and the sound and mask; from a module without torch.

    Raises:
        Stopped: the stage was asked to stop.
    """
    config, seconds = run.config, run.shared.limits.file_seconds
    workers = config.decode_workers or default_workers()

    def read(item: tuple[str, Clip], leaving: Leaving) -> Decoded:
        key, clip = item
        limits = limits_of(Path(clip.path), seconds, min(workers, len(clips)))
        apart = partial(read_apart, limits, leaving.check, decode, clip)
        whole: WholeClip = read_unchanged(clip_files(clip), run.memo, apart)
        return Decoded(key, torch.from_numpy(whole.frames), _tensor(whole.sound), _tensor(whole.weights))

    window = Window(workers, config.decode_ahead_mib * MIB)
    ahead = run_ahead(
        clips,
        read,
        size=_num_bytes,
        window=window,
        check=lambda: stop_if_asked(run.progress, "decoding clips"),
        apart=MediaError,
    )
    with closing(ahead) as results:
        for (key, _), result in results:
            if isinstance(result, MediaError):
                refused[key] = result
            else:
                yield result


def _tensor(array: npt.NDArray[np.float32] | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array)


def _num_bytes(item: tuple[str, Clip]) -> int:
    _, clip = item
    return 3 * clip.num_frames * clip.height * clip.width + round(SOUND_BYTES * clip_seconds(clip))
