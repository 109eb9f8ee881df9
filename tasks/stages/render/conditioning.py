"""Conditionings of renders beside their text: held-out clips, files of one's own, and parts of them. No torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets_spec import Clip, Latent
from datasets_spec.spec import Derived
from ltx_core.errors import ConfigError, DataError
from ltx_core.io.digest import DigestMemo, text_digest
from ltx_core.media.clip import audio_file
from ltx_core.sampling.request import Mode
from ltx_core.shapes import SAME_SIZE, TIME_STRIDE, LatentShape, ReferenceScale
from ltx_core.training.condition_settings import Condition
from tasks.runtime.conditions import FileConditionConfig, described, leave_something
from tasks.runtime.shared import Shared
from tasks.runtime.stage import StageRun
from tasks.stages.render.config import RenderValidationConfig, image_crf


@dataclass(frozen=True)
class ConditioningSource:
    """A held-out clip, or a file of one's own, that a render is conditioned on."""

    mode: Mode
    key: str
    """Digest of the conditioning."""
    clip: Clip | None = None
    file: Path | None = None
    start_seconds: float = 0.0
    """Where the audio, the video or the reference begins, in the clip's file or in `file`."""
    derive: Derived | None = None
    """The way in which a reference is made of `file`; None: the file is one."""
    scale: ReferenceScale = SAME_SIZE
    """By how much a reference is smaller than the render."""
    conditions: tuple[Condition, ...] = ()
    """With `composed`: what is kept."""
    parts: tuple["ConditioningSource", ...] = ()
    """With `composed` of files: each condition with its own."""
    at_seconds: float = 0.0
    """Time of a keyframe in the render."""
    num_frames: int | None = None
    """So many are read of a video in `file`; None: as many as the render has."""

    def has(self, kind: str) -> bool:
        """True if this is among several conditions."""
        return any(condition.kind == kind for condition in self.conditions)

    @property
    def follows(self) -> bool:
        """True if there is a reference."""
        return self.mode == "reference" or self.has("reference")

    @property
    def sound(self) -> Path | None:
        """The file whose audio the render keeps."""
        for part in self.parts:
            if part.has("audio"):
                return part.file
        if self.mode != "s2v" and not self.has("audio"):
            return None
        return audio_file(self.clip) if self.clip else self.file

    @property
    def audio_start(self) -> float:
        """Where in that file the audio begins, in seconds."""
        return next((part.start_seconds for part in self.parts if part.has("audio")), self.start_seconds)

    @property
    def control(self) -> "ConditioningSource":
        """The part that is a reference; this itself where it has no parts."""
        return next((part for part in self.parts if part.has("reference")), self)

    @property
    def single(self) -> tuple["ConditioningSource", ...]:
        """Its parts, or this itself."""
        return self.parts or (self,)


def conditioning_clips(run: StageRun[RenderValidationConfig]) -> Iterator[tuple[ConditioningSource, Clip]]:
    """Held-out clips for each mode that takes one, in the order of their keys, which says nothing of their content."""
    config: RenderValidationConfig = run.config
    counts: dict[Mode, int] = {
        "i2v": config.image_to_video_clips,
        "s2v": config.audio_to_video_clips,
        "v2a": config.video_to_audio_clips,
        "extend": config.extend_clips,
        "inpaint": config.inpaint_clips,
        "reference": config.reference_clips,
    }
    for mode, count in counts.items():
        for clip, latent in held_out(run, mode)[:count]:
            key = text_digest(latent.latent_key, *_part(mode, config, run.memo))
            yield _of_clip(mode, key, clip), clip
    for entry in config.composed:
        conditions = tuple(one.condition() for one in entry.conditions)
        found = [pair for pair in held_out(run, "composed") if _can_have(*pair, conditions)]
        if len(found) < entry.clips:
            raise ConfigError(
                f"render_validation.composed asks for {entry.clips} held-out clips with {described(conditions)} and "
                f"there are {len(found)}; lower clips, or hold out more"
            )
        for clip, latent in found[: entry.clips]:
            key = text_digest(latent.latent_key, "composed", described(conditions))
            yield replace(_of_clip("composed", key, clip), conditions=conditions), clip


def _of_clip(mode: Mode, key: str, clip: Clip) -> ConditioningSource:
    scale = ReferenceScale(clip.reference_downscale, clip.reference_stride)
    return ConditioningSource(mode, key, clip=clip, start_seconds=clip.start_seconds, scale=scale)


def _can_have(clip: Clip, latent: Latent, conditions: Sequence[Condition]) -> bool:
    """True if a clip has all that is to be kept of it, and more."""
    kinds = {condition.kind for condition in conditions}
    return (
        leave_something(conditions, LatentShape(*latent.video_shape[1:]))
        and ("keyframe" not in kinds or bool(latent.keyframes))
        and ("reference" not in kinds or bool(latent.reference_shape))
        and ("audio_reference" not in kinds or bool(latent.audio_reference_tokens))
        and (not any(kind.startswith("audio") for kind in kinds) or (latent.has_audio_loss and clip.audio != "silent"))
    )


def held_out(run: StageRun[RenderValidationConfig], mode: Mode) -> list[tuple[Clip, Latent]]:
    """Held-out clips that can condition a mode, by key; with the captions of their latents, which a model may have
    written after the clips were cut."""
    clips: dict[str, Clip] = {clip.clip_id: clip for clip in run.inputs["split"]}
    rows: list[Latent] = [row for row in run.inputs["encode_latents"] if row.split == "eval" and row.has_video]
    if mode == "s2v":
        rows = [row for row in rows if row.has_audio_loss and clips[row.clip_id].audio != "silent"]
    if mode == "v2a":
        rows = [row for row in rows if row.video_shape[1] > 1]
    if mode in ("i2v", "extend"):  # which leave nothing to generate of an image
        kept = run.config.extend_latent_frames if mode == "extend" else 1
        rows = [row for row in rows if row.video_shape[1] > kept]
    if mode == "reference":
        rows = [row for row in rows if row.reference_shape]
    rows.sort(key=lambda row: row.clip_key)
    return [(clips[row.clip_id].model_copy(update={"caption": row.caption}), row) for row in rows]


def _part(mode: Mode, config: RenderValidationConfig, memo: DigestMemo) -> tuple[str, ...]:
    """The part of a clip that is kept, where the mode alone does not say it."""
    if mode == "extend":
        return mode, str(config.extend_latent_frames)
    if mode == "inpaint":
        mask = None if config.inpaint_mask is None else memo.get(config.inpaint_mask)
        return mode, mask or repr(config.inpaint_region)
    return (mode, *_strength(config)) if mode == "i2v" else (mode,)


def _strength(config: RenderValidationConfig) -> tuple[str, ...]:
    """Return the strength with which an image is kept, where it is not 1, as a part of a key."""
    return () if config.image_strength == 1 else (f"strength {config.image_strength!r}",)


def conditioning_files(
    config: RenderValidationConfig, shared: Shared, memo: DigestMemo
) -> Iterator[tuple[ConditioningSource, Any]]:
    """Video and audio of one's own, each with its entry in the configuration.

    Raises:
        DataError: a file is gone.
    """
    prompts = shared.prompts
    crf = image_crf(config, shared) if prompts.images or prompts.composed else 0
    compressed = (f"crf {crf}",) if crf else ()
    for image in prompts.images:
        key = text_digest("picture", _digest(image.image, memo), *compressed, *_strength(config))
        yield ConditioningSource("i2v", key, file=image.image), image
    for audio in prompts.audio:
        key = text_digest("sound", _digest(audio.audio, memo), f"{audio.start_seconds:.6f}")
        yield ConditioningSource("s2v", key, file=audio.audio, start_seconds=audio.start_seconds), audio
    for video in prompts.videos:
        key = text_digest("video", _digest(video.video, memo), f"{video.start_seconds:.6f}")
        yield ConditioningSource("v2a", key, file=video.video, start_seconds=video.start_seconds), video
    for one in prompts.references:
        start, made = one.start_seconds, [one.derive] if one.derive else []
        key = text_digest("reference", _digest(one.reference, memo), f"{start:.6f}", *made)
        yield ConditioningSource("reference", key, file=one.reference, start_seconds=start, derive=one.derive), one
    for entry in prompts.composed:
        parts = tuple(_file_part(one, memo, crf) for one in entry.conditions)
        conditions = tuple(condition for part in parts for condition in part.conditions)
        key = text_digest("composed", *(part.key for part in parts))
        yield ConditioningSource("composed", key, conditions=conditions, parts=parts), entry


def _file_part(one: FileConditionConfig, memo: DigestMemo, crf: int) -> ConditioningSource:
    """The source of one condition, as a render has it that has no other."""
    condition, is_image = one.condition(), one.kind in ("first_frame", "keyframe")
    at = one.at_seconds or 0.0
    compressed = (f"crf {crf}",) if crf and is_image else ()
    place = (f"{one.start_seconds:.6f}", f"{at:.6f}", *([one.derive] if one.derive else []), *compressed)
    key = text_digest(described([condition]), _digest(one.file, memo), *place)
    modes: dict[str, Mode] = {"first_frame": "i2v", "keyframe": "i2v", "reference": "reference"}
    mode = "s2v" if one.kind.startswith("audio") else modes.get(one.kind, "v2a")
    frames = {"prefix": TIME_STRIDE * (condition.frames - 1) + 1, "suffix": TIME_STRIDE * condition.frames + 1}
    return ConditioningSource(
        mode,
        key,
        file=one.file,
        start_seconds=one.start_seconds,
        derive=one.derive,
        conditions=(condition,),
        at_seconds=at,
        num_frames=frames.get(one.kind),
    )


def _digest(path: Path, memo: DigestMemo) -> str:
    if not path.is_file():
        raise DataError(f"{path} is not there; it is named in prompts.images, audio, videos, references or composed")
    return memo.get(path)
