"""Conditions of samples: which are drawn, and which part of a clip's stored tensors each keeps.

They are the kinds of `ltx_core/conditioning` that renders have too. Each is drawn by itself, so that a sample may have
several. Exceptions: a first frame and a prefix share one number, because a prefix holds the first frame; a stream that
is clean as a whole leaves no part of it to condition on, and the other is learnt; and an image has no other frames to
learn from its first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ltx_core.conditioning.kinds import (
    THRESHOLD,
    AudioMask,
    Conditioning,
    Keyframes,
    Mask,
    Prefix,
    Suffix,
    WholeAudio,
    inside,
    outside,
)
from ltx_core.conditioning.reference import AudioReference, Reference
from ltx_core.conditioning.whole_video import WholeVideo
from ltx_core.errors import ConfigError
from ltx_core.shapes import LatentShape, audio_latent_frames
from ltx_core.training.condition_settings import Condition
from ltx_core.training.config import TrainSettings
from ltx_core.training.samples import ClipInfo

Chance = Callable[[str], float]
"""(purpose) -> a number in [0, 1), another for every purpose."""
LONGER = ("keyframe", "reference", "audio_reference")
"""Kinds that append tokens; all samples of a batch are equally long, so its first sample decides."""


def drawn_conditions(clip: ClipInfo, settings: TrainSettings, chance: Chance) -> tuple[Condition, ...]:
    """Those of one sample, in the order in which they are applied."""
    match whole_stream(clip, settings, chance):
        case "video":
            found = [Condition("video"), *_of_audio(clip, settings, chance)]
        case "audio" if clip.has_sound:
            found = [*_of_video(clip, settings, chance), Condition("audio")]
        case _:
            found = [*_of_video(clip, settings, chance), *_of_audio(clip, settings, chance)]
    runs = {
        "reference": _is_seen(clip, settings),
        "audio_reference": settings.modalities != "video" and clip.has_sound,
    }
    references = [name for name, runs_it in runs.items() if runs_it and getattr(clip, name)]
    if references and chance("reference_dropout") >= settings.reference_dropout:
        found += [Condition(name, settings.reference_strength) for name in references]
    return tuple(found)


def _of_video(clip: ClipInfo, settings: TrainSettings, chance: Chance) -> Iterator[Condition]:
    def drawn(kind: str) -> bool:
        probability = settings.probability(kind)
        return probability > 0 and chance(kind) < probability

    if not clip.is_one_frame:
        number = chance("first_frame")
        if number < settings.first_frame_probability:
            yield Condition("first_frame", settings.first_frame_strength, 1)
        elif number < settings.first_frame_probability + settings.prefix_probability:
            yield Condition("prefix", settings.prefix_strength, settings.prefix_latent_frames)
        if drawn("suffix"):
            yield Condition("suffix", settings.suffix_strength, settings.suffix_latent_frames)
    if drawn("outpaint"):
        yield Condition("outpaint", settings.outpaint_strength, region=settings.outpaint_region)
    if clip.has_mask and drawn("inpaint"):
        yield Condition("inpaint", settings.inpaint_strength)
    if clip.keyframes and drawn("keyframe"):
        yield Condition("keyframe", settings.keyframe_strength)


def _is_seen(clip: ClipInfo, settings: TrainSettings) -> bool:
    return settings.modalities != "audio" and clip.has_video


def whole_stream(clip: ClipInfo, settings: TrainSettings, chance: Chance) -> Literal["neither", "audio", "video"]:
    """The stream of a sample that is clean as a whole. Without audio to learn it is never the video, or nothing would
    be left to learn. Of audio alone it is the video, of which there is nothing."""
    if not _is_seen(clip, settings):
        return "video"
    number = chance("audio_given")
    if number < settings.audio_conditioning_probability:
        return "audio"
    both = settings.audio_conditioning_probability + settings.video_conditioning_probability
    return "video" if number < both and clip.has_audio_loss else "neither"


def _of_audio(clip: ClipInfo, settings: TrainSettings, chance: Chance) -> Iterator[Condition]:
    if not clip.has_sound:
        return
    for kind in ("audio_prefix", "audio_suffix", "audio_inpaint"):
        probability = settings.probability(kind)
        if probability > 0 and chance(kind) < probability:
            seconds = getattr(settings, f"{kind}_seconds")
            start = chance("audio_inpaint/start") if kind == "audio_inpaint" else 0.0
            yield Condition(kind, settings.strength(kind), audio_latent_frames(seconds), start=start)


def conditioning(
    condition: Condition,
    tensors: Mapping[str, Tensor],
    grid: LatentShape,
    *,
    keyframes: Sequence[int],
    frame_rate: float,
    given_frames: int,
) -> Conditioning | None:
    """The conditioning on a part of a clip; None where it would leave nothing to generate.

    Args:
        condition: one that was drawn.
        tensors: what is stored of the clip, float32.
        grid: of the clip's latent.
        keyframes: numbers of the clip's frames that are stored as images.
        frame_rate: of the clip.
        given_frames: latent frames that earlier conditions keep at the beginning; one of all is generated.
    """
    if condition.kind == "audio":
        return WholeAudio(tensors["audio"])
    if condition.kind == "video":
        return WholeVideo(tensors["video"])
    if condition.kind in LONGER:
        return _beside(condition, tensors, keyframes, frame_rate)
    if condition.kind.startswith("audio"):
        where = audio_times(condition, len(tensors["audio"]))
        return None if bool(where.all()) else AudioMask(tensors["audio"], where, condition.strength)
    return _within(condition, tensors, grid, given_frames)


def _beside(
    condition: Condition, tensors: Mapping[str, Tensor], keyframes: Sequence[int], frame_rate: float
) -> Conditioning:
    if condition.kind == "keyframe":
        return Keyframes(tensors["keyframes"], tuple(keyframes), frame_rate, condition.strength)
    if condition.kind == "audio_reference":
        return AudioReference(tensors["audio_reference"], condition.strength)
    return Reference(tensors["reference"], frame_rate, condition.strength)


def _within(
    condition: Condition, tensors: Mapping[str, Tensor], grid: LatentShape, given_frames: int
) -> Conditioning | None:
    video, strength = tensors["video"], condition.strength
    match condition.kind:
        case "outpaint":
            assert condition.region is not None  # drawn with one
            return _masked(video, inside(condition.region, grid), strength)
        case "inpaint" if condition.region is not None:
            return _masked(video, outside(condition.region, grid), strength)
        case "inpaint":
            return _masked(video, 1 - tensors["mask"], strength) if "mask" in tensors else None
        case "suffix":
            count = min(condition.frames, grid.frames - 1 - given_frames)
            return Suffix(video[:, grid.frames - count :], strength) if count > 0 else None
        case _:
            return Prefix(video[:, : min(condition.frames, grid.frames - 1)], strength)


def _masked(video: Tensor, where: Tensor, strength: float) -> Mask | None:
    return None if bool((where > THRESHOLD).all()) else Mask(video, where, strength)


def audio_times(condition: Condition, count: int) -> Tensor:
    """Audio latent frames that are conditioning, [A]."""
    place = torch.arange(count)
    match condition.kind:
        case "audio_prefix":
            where = place < condition.frames
        case "audio_suffix":
            where = place >= count - condition.frames
        case _:
            length = min(condition.frames, count)
            start = int(condition.start * (count - length + 1))
            where = (place < start) | (place >= start + length)
    return where.float()


def fewest_learnt(settings: TrainSettings, grid: LatentShape) -> int:
    """Video tokens that are learnt with the longest conditioning that the settings allow.

    Raises:
        ConfigError: masks of clips decide it.
    """
    if settings.inpaint_probability:
        raise ConfigError(
            f"inpaint_probability is {settings.inpaint_probability} with routes, which set as many tokens aside in "
            f"every sample, and each mask keeps others; leave one of them out"
        )
    before = settings.prefix_latent_frames if settings.prefix_probability else int(settings.first_frame_probability > 0)
    after = settings.suffix_latent_frames if settings.suffix_probability else 0
    frames = max(grid.frames - before - after, 1)
    places = grid.height * grid.width
    if settings.outpaint_probability:
        learnt = places - int(inside(settings.outpaint_region, grid)[0].sum())
        places = learnt or places
    return frames * places
