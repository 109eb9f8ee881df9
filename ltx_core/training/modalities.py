"""The modalities that a run trains: if no clip has audio, the video alone, and the other way round. pydantic only:
`plan` asks it too."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import ValidationError

from ltx_core.errors import ConfigError
from ltx_core.training.adapter_settings import OF_AUDIO_LAYERS
from ltx_core.training.config import TrainSettings


class Heard(Protocol):
    """A clip, of which it is known whether it is trained on and which streams it has."""

    @property
    def split(self) -> str: ...

    @property
    def has_sound(self) -> bool: ...

    @property
    def has_video(self) -> bool: ...


class AsHeard(NamedTuple):
    """The settings that a run follows, and a line for people on why they differ from those that were given."""

    settings: TrainSettings
    why: str = ""


ABSENT: dict[str, tuple[Literal["video", "audio"], tuple[str, ...], tuple[str, ...]]] = {
    "audio": ("video", ("audio", "audio_ff"), (*TrainSettings.audio_options(), *OF_AUDIO_LAYERS)),
    "video": ("audio", ("video", "ff"), (*TrainSettings.video_options(), "cross_learning_rate", "cross_rank")),
}
"""By the absent stream: the one that is trained, presets that nothing would train, and settings without meaning."""


def as_heard(settings: TrainSettings, clips: Iterable[Heard]) -> AsHeard:
    """The same settings, or with `modalities: video` if no clip of the train split has audio, or with
    `modalities: audio` if none has video.

    Raises:
        ConfigError: the settings ask for the layers of what is absent by name, or for it alone.
    """
    trained = [clip for clip in clips if clip.split == "train"]
    if not any(clip.has_sound for clip in trained):
        return _without("audio", settings)
    if not any(clip.has_video for clip in trained):
        return _without("video", settings)
    return AsHeard(settings)


def _without(absent: Literal["video", "audio"], settings: TrainSettings) -> AsHeard:
    left, presets, meaningless = ABSENT[absent]
    if settings.modalities == left:
        return AsHeard(settings)
    if settings.modalities == absent or settings.targets in presets:
        name = "modalities" if settings.modalities == absent else "targets"
        asked = f"{name} is {getattr(settings, name)!r}"
        raise ConfigError(
            f"{asked} and no clip has audio, so there is nothing to train these layers on; add footage with audio, "
            f"check audio.auto_split and audio.audio_dir, or set {name} to 'video'"
            if absent == "audio"
            else f"{asked} and no clip has video, so there is nothing to train these layers on; add a dataset whose "
            f"dataset_type is video, or set {name} to 'audio'"
        )
    fields = type(settings).model_fields
    changes: dict[str, Any] = {"modalities": left} | {
        name: fields[name].default for name in ("audio_loss_weight", "audio_loss_ratio", *meaningless)
    }
    if settings.targets == "audio+video":
        changes["targets"] = left
    new = ", ".join(f"{name} {value}" for name, value in changes.items() if getattr(settings, name) != value)
    why = (
        f"no clip that is trained on has audio, so only the video is trained ({new}): the layers of audio, and those "
        f"between audio and video, stay what they are in the base"
        if absent == "audio"
        else f"no clip that is trained on has video, so only the audio is trained ({new}): the layers of video, and "
        f"those between audio and video, stay what they are in the base"
    )
    try:
        return AsHeard(type(settings).model_validate(settings.model_dump() | changes), why)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"no clip that is trained on has {absent}: {reason}") from error
