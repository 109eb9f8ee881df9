"""Options for renders with several conditions at once, of held-out clips or of files. pydantic only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from datasets_spec.options import ConfigModel
from datasets_spec.spec import Derived
from ltx_core.shapes import LatentShape, audio_latent_frames
from ltx_core.training.condition_settings import CENTRE, WHOLE_FRAME, Condition, Region, check_region

Kind = Literal[
    "first_frame",
    "prefix",
    "suffix",
    "keyframe",
    "outpaint",
    "inpaint",
    "reference",
    "audio",
    "audio_prefix",
    "audio_suffix",
    "audio_inpaint",
    "audio_reference",
]
AUDIO_PARTS = ("audio_prefix", "audio_suffix", "audio_inpaint")
EXCLUDED: tuple[frozenset[str], ...] = (
    frozenset({"first_frame", "prefix"}),
    *(frozenset({"audio", part}) for part in AUDIO_PARTS),
)
"""Kinds of which one has the other in it."""


class ConditionConfig(ConfigModel):
    """One condition. Text alone stands for its kind."""

    kind: Kind = Field(
        description="Part that is kept: `first_frame`, `prefix`, `suffix`, `keyframe` (the `datasets[].keyframes`), "
        "`outpaint` (a region), `inpaint` (all but a region), `reference`, `audio`, `audio_prefix`, `audio_suffix`, "
        "`audio_inpaint` (all but a span in the middle), or what is followed: `audio_reference`."
    )
    strength: float = Field(
        default=1.0, gt=0, le=1, description="Strength. 1: unchanged. Below, the model may change it."
    )
    latent_frames: int = Field(default=2, ge=1, le=128, description="Latent frames of a prefix or suffix.")
    region: Region = Field(
        default=CENTRE,
        description="Region of `outpaint`, which is kept, or of `inpaint`, which is generated: left, top, right and "
        "bottom, as fractions of the frame.",
    )
    seconds: float = Field(default=1.0, gt=0, le=3600, description="Length of a part of the audio.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _agrees(self) -> "ConditionConfig":
        check_region(self.region, "region")
        takes = {"latent_frames": ("prefix", "suffix"), "region": ("outpaint", "inpaint"), "seconds": AUDIO_PARTS}
        for name, kinds in takes.items():
            if getattr(self, name) != type(self).model_fields[name].default and not self.kind.startswith(kinds):
                raise ValueError(f"{name} has no effect on {self.kind}; leave it out")
        if self.kind == "audio" and self.strength != 1:
            raise ValueError("audio is kept as a whole and has no strength; leave it out")
        if self.kind == "outpaint" and self.region == WHOLE_FRAME:
            raise ValueError(f"region is {list(WHOLE_FRAME)}, which leaves nothing to generate; make it smaller")
        return self

    def condition(self) -> Condition:
        """The same as training has it."""
        frames = 1 if self.kind == "first_frame" else self.latent_frames
        if self.kind in AUDIO_PARTS:
            frames = audio_latent_frames(self.seconds)
        region = self.region if self.kind in ("outpaint", "inpaint") else None
        return Condition(self.kind, self.strength, frames, region, start=0.5)


class _Composed(ConfigModel):
    """Several conditions at once."""

    conditions: tuple[ConditionConfig, ...] = Field(min_length=1, description="All of them at once.")

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        check_together([one.kind for one in self.conditions])
        return self


class ComposedClips(_Composed):
    """Renders of held-out clips of which all of these are kept."""

    clips: int = Field(default=1, ge=1, le=100, description="Number of held-out clips.")


class FileConditionConfig(ConditionConfig):
    """One condition, and the file that it comes from."""

    file: Path = Field(
        description="Image of a first frame or keyframe; video of a prefix, suffix, region or reference, as long as "
        "what is kept of it; or file with audio. Images and videos are scaled to cover the render and cropped to the "
        "centre."
    )
    start_seconds: float = Field(default=0.0, ge=0, description="Start in the file, in seconds.")
    at_seconds: float | None = Field(default=None, ge=0, description="Time of a keyframe in the render, in seconds.")
    derive: Derived | None = Field(
        default=None, description="With `reference`: make it from this file, as `datasets[].reference.derive` does."
    )

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> "FileConditionConfig":
        if self.kind == "keyframe" and self.at_seconds is None:
            raise ValueError("a keyframe has no at_seconds; set the time at which the render is to have it")
        if self.kind != "keyframe" and self.at_seconds is not None:
            raise ValueError(f"at_seconds has no effect on {self.kind}; leave it out")
        if self.derive is not None and self.kind != "reference":
            raise ValueError(f"derive has no effect on {self.kind}; leave it out")
        return self


class ComposedPrompt(_Composed):
    """A render that keeps parts of several files."""

    conditions: tuple[FileConditionConfig, ...] = Field(min_length=1, description="All of them at once.")
    prompt: str = Field(min_length=1, description="Description of what is seen and heard.")
    seed: int | None = Field(default=None, ge=0, description="Seed. Default: the seeds of all renders.")


def check_together(kinds: Sequence[str]) -> None:
    """See that no kind is there twice or has another in it.

    Raises:
        ValueError: one is or has.
    """
    once = [kind for kind in kinds if kind != "keyframe"]
    if len(set(once)) < len(once):
        raise ValueError(f"conditions are {', '.join(kinds)}; name each kind once")
    for pair in EXCLUDED:
        if pair <= set(kinds):
            raise ValueError(f"{' and '.join(sorted(pair))} exclude each other, since one has the other in it")


def described(conditions: Sequence[Condition]) -> str:
    """Return these conditions in a few words."""

    def words(one: Condition) -> str:
        more = [f"{one.frames} latent frames"] if one.kind in ("prefix", "suffix", *AUDIO_PARTS) else []
        more += [f"region {','.join(f'{edge:g}' for edge in one.region)}"] if one.region else []
        more += [f"strength {one.strength:g}"] if one.strength != 1 else []
        return one.kind + (f" ({', '.join(more)})" if more else "")

    return " + ".join(map(words, conditions))


def leave_something(conditions: Sequence[Condition], grid: LatentShape) -> bool:
    """True if these conditions can hold in a clip of this grid together: frames that are kept leave one to generate."""
    kept = {one.kind: one.frames for one in conditions if one.kind in ("first_frame", "prefix", "suffix")}
    return sum(kept.values()) < grid.frames if kept else True
