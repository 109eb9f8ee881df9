"""Checks of images, audio and control videos of one's own that renders start from. No torch, and PyAV only to look at
files."""

import math
from collections.abc import Iterator
from pathlib import Path

from ltx_core.errors import ConfigError, DataError
from ltx_core.media.buckets import is_too_small
from ltx_core.media.find import is_video
from ltx_core.shapes import TIME_STRIDE, PixelShape, floor_frames
from tasks.runtime.conditions import FileConditionConfig, described, leave_something
from tasks.runtime.shared import Shared
from tasks.stages.render.config import RenderValidationConfig


def check_files(config: RenderValidationConfig, shared: Shared) -> None:
    """See that every image opens and every audio file is one; nothing is decoded.

    Raises:
        DataError: one is not; names it.
    """
    from ltx_core.media.image import image_size

    images = [entry.image for entry in shared.prompts.images]
    for path in [*images, *([config.inpaint_mask] if config.inpaint_mask else [])]:
        image_size(path)
    for entry in shared.prompts.audio:
        _check_audio(entry.audio, entry.start_seconds, "audio")
    seconds = floor_frames(config.num_frames) / config.frame_rate
    for one in shared.prompts.references:
        _check_control(one.reference, one.start_seconds, seconds, "references")
    for part in (part for entry in shared.prompts.composed for part in entry.conditions):
        _check_part(part, seconds, config.frame_rate)
    check_composed(config, shared)
    for kept in shared.prompts.videos:
        if not is_video(kept.video):
            raise DataError(f"{kept.video} is no video; give a video file to prompts.videos")
        _check_control(kept.video, kept.start_seconds, seconds, "videos")


def check_composed(config: RenderValidationConfig, shared: Shared) -> None:
    """See that composed renders leave something to generate, and that datasets can have what clips are to keep. Else
    it would be found once the training is over.

    Raises:
        ConfigError: one does not, or none can.
    """
    frames = floor_frames(config.num_frames)
    seconds = frames / config.frame_rate
    grid = PixelShape(frames, config.height, config.width).latent()
    for entry in shared.prompts.composed:
        conditions = tuple(one.condition() for one in entry.conditions)
        if not leave_something(conditions, grid):
            raise ConfigError(
                f"prompts.composed keeps {described(conditions)} of a render that has {grid.frames} latent frames, "
                f"which leaves none to generate; lower latent_frames, or raise render_validation.num_frames"
            )
        for one in entry.conditions:
            if one.kind in ("audio_prefix", "audio_suffix") and one.seconds >= seconds:
                raise ConfigError(
                    f"prompts.composed keeps {one.seconds:g} s of the audio of a render that lasts {seconds:.2f} s, "
                    f"which leaves none to generate; lower seconds, or keep all of it as `audio`"
                )
    wanted = {one.kind for entry in config.composed for one in entry.conditions}
    for kind, (option, there) in _kept_of_datasets(shared).items():
        if kind in wanted and not there:
            raise ConfigError(
                f"render_validation.composed keeps a {kind.replace('_', ' ')} of held-out clips and no dataset has "
                f"any; set {option} or leave it out"
            )


def _kept_of_datasets(shared: Shared) -> dict[str, tuple[str, bool]]:
    """The option by which clips have what a kind of condition keeps, and whether a dataset sets it."""
    return {
        "keyframe": ("datasets[].keyframes", any(one.keyframes for one in shared.datasets)),
        "reference": ("datasets[].reference", any(one.reference for one in shared.datasets)),
        "audio_reference": ("datasets[].audio.reference_dir", any(one.audio.reference_dir for one in shared.datasets)),
    }


def _check_part(part: FileConditionConfig, seconds: float, frame_rate: float) -> None:
    from ltx_core.media.image import image_size

    if part.kind in ("first_frame", "keyframe"):
        image_size(part.file)
        if (part.at_seconds or 0.0) > seconds:
            raise DataError(
                f"the keyframe {part.file} is at {part.at_seconds:.2f} s, and the render lasts {seconds:.2f} s; lower "
                f"at_seconds in prompts.composed, or raise render_validation.num_frames"
            )
    elif part.kind.startswith("audio"):
        _check_audio(part.file, part.start_seconds, "composed")
    else:
        more = {"prefix": -TIME_STRIDE + 1, "suffix": 1}.get(part.kind)
        needed = seconds if more is None else (TIME_STRIDE * part.latent_frames + more) / frame_rate
        _check_control(part.file, part.start_seconds, needed, "composed")


def _check_audio(path: Path, start: float, option: str) -> None:
    from ltx_core.media.audio import has_audio
    from ltx_core.media.probe import probe_audio

    if not has_audio(path):
        raise DataError(f"{path} has no audio; give an audio file or a video with audio to prompts.{option}")
    found = probe_audio(path).duration_seconds if start else math.inf
    if start >= found:
        raise DataError(
            f"the audio of {path} ends at {found:.2f} s, and what is read of it starts at {start:.2f} s; lower "
            f"start_seconds in prompts.{option}"
        )


def _check_control(path: Path, start: float, seconds: float, option: str) -> None:
    from ltx_core.media.frames import HOLD_SECONDS
    from ltx_core.media.image import image_size
    from ltx_core.media.probe import probe_media

    if not is_video(path):
        image_size(path)
        return
    found = probe_media(path).duration_seconds
    if start + seconds > found + HOLD_SECONDS:
        raise DataError(
            f"{path} lasts {found:.2f} s, and a render of {seconds:.2f} s from {start:.2f} s on needs more; give a "
            f"longer file to prompts.{option}, or lower render_validation.num_frames"
        )


def small_frames(config: RenderValidationConfig, shared: Shared) -> Iterator[str]:
    """A warning for each image that would be enlarged more than twice."""
    from ltx_core.media.image import image_size

    for entry in shared.prompts.images:
        if entry.image.is_file() and is_too_small(*(size := image_size(entry.image)), (config.width, config.height)):
            yield (
                f"prompts.images {entry.image.name} is {size[0]}x{size[1]} and enlarged to cover {config.width}x"
                f"{config.height}: the render starts blurred"
            )
