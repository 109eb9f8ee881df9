"""The modalities that a run trains: if no clip has audio, the video alone. pydantic only: `plan` asks it too."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from ltx_core.errors import ConfigError
from ltx_core.training.config import OF_AUDIO_LAYERS, TrainSettings


class Heard(Protocol):
    """A clip, of which it is known whether it is trained on and whether it has sound."""

    @property
    def split(self) -> str: ...

    @property
    def has_sound(self) -> bool: ...


class AsHeard(NamedTuple):
    """The settings that a run follows, and a line for people on why they differ from those that were given."""

    settings: TrainSettings
    why: str = ""


def as_heard(settings: TrainSettings, samples: Iterable[Heard]) -> AsHeard:
    """The same settings, or with `modalities: video` if no clip of the train split has sound.

    Raises:
        ConfigError: the settings ask for the sound's layers by name, and there would be nothing to train them on.
    """
    if settings.modalities == "video" or any(s.split == "train" and s.has_sound for s in samples):
        return AsHeard(settings)
    if settings.targets in ("audio", "audio_ff"):
        raise ConfigError(
            f"targets is {settings.targets!r} and no clip has audio, so there is nothing to train these layers on; add "
            "footage with audio, check audio.auto_split and audio.audio_dir, or set targets to 'video'"
        )
    changes: dict[str, Any] = {"modalities": "video"}
    changes |= {
        name: TrainSettings.model_fields[name].default
        for name in ("audio_loss_weight", *settings.audio_options(), *OF_AUDIO_LAYERS)
    }
    if settings.targets == "audio+video":
        changes["targets"] = "video"
    told = [f"{name} {new}" for name, new in changes.items() if getattr(settings, name) != new]
    why = (
        f"no clip that is trained on has audio, so only the video is trained ({', '.join(told)}): the layers of "
        f"audio, and those between audio and video, stay what they are in the base"
    )
    return AsHeard(type(settings).model_validate(settings.model_dump() | changes), why)
