"""Options for the conditioning of samples. pydantic only, as for all of training's options."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from datasets_spec.options import ConfigModel

DEFAULT_FRAMES = 2
DEFAULT_SECONDS = 1.0
CENTRE = (0.25, 0.25, 0.75, 0.75)
WHOLE_FRAME = (0.0, 0.0, 1.0, 1.0)
Edge = Annotated[float, Field(ge=0, le=1)]
Region = tuple[Edge, Edge, Edge, Edge]
WHOLE_STREAMS = ("audio_conditioning_probability", "video_conditioning_probability")
"""Options that make one whole stream of a sample clean."""
EXTENTS: dict[str, tuple[str, ...]] = {
    "first_frame": (),
    "prefix": ("latent_frames",),
    "suffix": ("latent_frames",),
    "keyframe": (),
    "outpaint": ("region",),
    "inpaint": (),
    "audio_prefix": ("seconds",),
    "audio_suffix": ("seconds",),
    "audio_inpaint": ("seconds",),
}
"""Kinds of conditions that have a probability and a strength, and what else says how much each keeps."""


@dataclass(frozen=True)
class Condition:
    """One that a sample has."""

    kind: str
    """As in `EXTENTS`, or `audio` or `video` for all of it, `reference` or `audio_reference`."""
    strength: float = 1.0
    frames: int = 0
    """Latent frames, of video or audio."""
    region: Region | None = None
    """Of an `outpaint`, which is clean, or of an `inpaint`, which is not; None: the clip's mask says it."""
    start: float = 0.0
    """Of a span of audio, as a fraction of what is possible."""


def check_region(region: Region, name: str) -> None:
    """See that a region has an inside.

    Raises:
        ValueError: it has none.
    """
    left, top, right, bottom = region
    if not (left < right and top < bottom):
        raise ValueError(f"{name} is {list(region)}; left < right and top < bottom from 0 to 1 are wanted")


def _new(default: Any, description: str, **bounds: Any) -> Any:
    """A field that is left out of keys at its default, so that those of runs without it stay what they were."""
    return Field(default=default, exclude_if=lambda value: value == default, description=description, **bounds)


def _probability(what: str) -> Any:
    return _new(0.0, f"Probability that {what}", ge=0, le=1)


def _strength(what: str) -> Any:
    return _new(
        1.0,
        f"Strength of {what}. 1: clean, without a loss. Below: (1 - strength) times the noise level of the sample, and "
        "that part of the loss, so that the model learns to change it.",
        gt=0,
        le=1,
    )


class ConditionSettings(ConfigModel):
    """Conditions of samples. Each is drawn by itself, so that a sample may have several; a first frame and a prefix
    exclude each other, and audio that is clean as a whole leaves no part of it to condition on."""

    first_frame_probability: float = Field(
        default=0.0, ge=0, le=1, description="Probability that a sample has a clean first frame, as in image-to-video."
    )
    first_frame_strength: float = _strength("the first frame")
    prefix_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Probability that a sample has a clean prefix, so that the model learns to continue a clip. "
        "Never together with a clean first frame.",
    )
    prefix_latent_frames: int = Field(
        default=DEFAULT_FRAMES,
        ge=1,
        le=1024,
        description="Latent frames of that prefix: n latent frames are 8(n-1)+1 pixel frames. At least one latent "
        "frame of a clip stays noisy.",
    )
    prefix_strength: float = _strength("the prefix")
    suffix_probability: float = _probability(
        "a sample has a clean suffix, so that the model learns what comes before a clip, and with a first frame or a "
        "prefix to fill in between."
    )
    suffix_latent_frames: int = _new(
        DEFAULT_FRAMES, "Latent frames of that suffix, 8 pixel frames each.", ge=1, le=1024
    )
    suffix_strength: float = _strength("the suffix")
    keyframe_probability: float = _probability(
        "a batch has its clips' keyframes (`datasets[].keyframes`) beside it, so that the model learns to go through "
        "them."
    )
    keyframe_strength: float = _strength("the keyframes")
    outpaint_probability: float = _probability(
        "of a sample only what lies outside `outpaint_region` is trained, and the region is clean."
    )
    outpaint_region: Region = _new(
        CENTRE,
        "Region that is clean: left, top, right and bottom, as fractions of the frame. Places of 32x32 pixels that lie "
        "in it as a whole are.",
    )
    outpaint_strength: float = _strength("that region")
    inpaint_probability: float = _probability(
        "the black parts of a clip's mask (`datasets[].mask_dir`) are clean, so that the model learns to fill in the "
        "white ones. Clips without a mask are trained as a whole."
    )
    inpaint_strength: float = _strength("those parts")
    audio_conditioning_probability: float = Field(
        serialization_alias="audio_given_probability",
        default=0.0,
        ge=0,
        le=1,
        description="Probability that the audio of a sample is clean and has no loss, so that the model learns to "
        "generate video for audio.",
    )
    video_conditioning_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        exclude_if=lambda value: not value,  # so that keys of runs without it stay what they were
        description="Probability that the video of a sample is clean and has no loss, so that the model learns to "
        "generate audio for video (foley). Never together with clean audio, and not for clips whose audio has no loss.",
    )
    audio_prefix_probability: float = _probability(
        "the beginning of a sample's audio is clean, so that the model learns to continue it."
    )
    audio_prefix_seconds: float = _new(DEFAULT_SECONDS, "Length of that beginning.", gt=0, le=3600)
    audio_prefix_strength: float = _strength("that beginning")
    audio_suffix_probability: float = _probability("the end of a sample's audio is clean.")
    audio_suffix_seconds: float = _new(DEFAULT_SECONDS, "Length of that end.", gt=0, le=3600)
    audio_suffix_strength: float = _strength("that end")
    audio_inpaint_probability: float = _probability(
        "all of a sample's audio but a span at a random time is clean, so that the model learns to fill gaps."
    )
    audio_inpaint_seconds: float = _new(DEFAULT_SECONDS, "Length of that span.", gt=0, le=3600)
    audio_inpaint_strength: float = _strength("the audio around it")
    reference_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        exclude_if=lambda value: not value,  # so that keys of runs without it stay what they were
        description="Probability that a batch of clips with references (`datasets[].reference`) is trained without "
        "them.",
    )
    reference_strength: float = _new(
        1.0,
        "Strength of references. 1: clean. Below: (1 - strength) times the noise level of the sample. They never have "
        "a loss.",
        gt=0,
        le=1,
    )

    @model_validator(mode="after")
    def _conditions_agree(self) -> Self:
        both = self.first_frame_probability + self.prefix_probability
        if both > 1:
            raise ValueError(
                f"first_frame_probability {self.first_frame_probability} and prefix_probability "
                f"{self.prefix_probability} make {both:g}; a sample has one or the other, so lower them to 1 in all"
            )
        for kind, extents in EXTENTS.items():
            for name in (f"{kind}_{what}" for what in (*extents, "strength")):
                value = getattr(self, name)
                if not self.probability(kind) and value != type(self).model_fields[name].default:
                    raise ValueError(
                        f"{name} is {value} with {kind}_probability 0, which gives no {kind.replace('_', ' ')}; raise "
                        f"{kind}_probability or leave it out"
                    )
        whole = {name: getattr(self, name) for name in WHOLE_STREAMS}
        if sum(whole.values()) > 1:
            named = " and ".join(f"{name} {value}" for name, value in whole.items())
            raise ValueError(
                f"{named} make {sum(whole.values()):g}; one stream of a sample is always generated, so "
                f"lower them to 1 in all"
            )
        check_region(self.outpaint_region, "outpaint_region")
        if self.outpaint_probability and self.outpaint_region == WHOLE_FRAME:
            raise ValueError(f"outpaint_region is {list(WHOLE_FRAME)}, which leaves nothing to learn; make it smaller")
        return self

    @staticmethod
    def probabilities() -> tuple[str, ...]:
        """Names of the options that condition samples on what is in a clip itself; without any, nothing of it is
        clean."""
        return *WHOLE_STREAMS, *(f"{kind}_probability" for kind in EXTENTS)

    def probability(self, kind: str) -> float:
        """That a sample has a kind of `EXTENTS`."""
        return float(getattr(self, f"{kind}_probability"))

    def strength(self, kind: str) -> float:
        """The strength of a kind of `EXTENTS`."""
        return float(getattr(self, f"{kind}_strength"))

    @staticmethod
    def audio_options() -> tuple[str, ...]:
        """Names of the options for conditions that need audio."""
        names = (name for name in ConditionSettings.model_fields if name.startswith("audio_"))
        return *names, "video_conditioning_probability"

    @staticmethod
    def video_options() -> tuple[str, ...]:
        """Names of the options for conditions that need video."""
        names = (name for name in ConditionSettings.model_fields if not name.startswith(("audio_", "reference_")))
        return *names, "audio_conditioning_probability"

    def conditions_of(self, stream: str) -> dict[str, float]:
        """Probabilities of conditions that need `audio` or `video`, by the names of their options, where they are not
        0."""
        options = self.audio_options() if stream == "audio" else self.video_options()
        names = (name for name in options if name.endswith("_probability"))
        return {name: value for name in names if (value := getattr(self, name))}

    @property
    def conditions_by_token(self) -> bool:
        """True if samples may have tokens of a stream at several noise levels."""
        return any(self.probability(kind) for kind in EXTENTS)
