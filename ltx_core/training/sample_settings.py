"""Options of the samples that are rendered while a LoRA trains. pydantic only, as for all of training's options."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from datasets_spec.options import ConfigModel
from ltx_core.shapes import floor_frames

Edge = Annotated[int, Field(ge=64, le=4096, multiple_of=32)]
DISTILLED_STEPS = 8


class SampleSettings(ConfigModel):
    """Renders of a few prompts at fixed steps, with equal noise, by the weights that are being trained.

    The default interval costs about a twentieth of a run's time: two prompts of 12 sampling steps are 48 forwards,
    which take as long as 15 to 25 training steps of the same size.
    """

    every_steps: int = Field(
        default=500,
        ge=0,
        description="Optimizer steps between samples. The base model is rendered before the first step, and the last "
        "step has samples too. 0, or more than `steps`: no samples are rendered.",
    )
    max_prompts: int = Field(
        default=2, ge=1, le=100, description="Number of prompts that are rendered: the first of `prompts.validation`."
    )
    reference_clips: int = Field(
        default=1,
        ge=0,
        le=100,
        description="Number of held-out clips with a reference that are rendered too, by their caption and following "
        "their reference. There are none where no clip has a reference.",
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(42,), min_length=1, description="Seeds. There is one sample for each prompt and seed."
    )
    num_steps: int = Field(default=12, ge=2, le=200, description="Sampling steps. `distilled` has 8.")
    schedule: Literal["dev", "distilled"] = Field(default="dev", description="Lightricks' schedule of sigmas.")
    video_cfg: float = Field(default=3.0, ge=1, le=20, description="Guidance scale of the video. 1: no guidance.")
    audio_cfg: float = Field(default=7.0, ge=1, le=20, description="Guidance scale of the audio. 1: no guidance.")
    rescale: float = Field(
        default=0.7, ge=0, le=1, description="How far guidance preserves the standard deviation of the prediction."
    )
    width: Edge | None = Field(
        default=None,
        description="Width in pixels, a multiple of 32. Default: size, length and frame rate are those of the bucket "
        "that is trained on most; images count only where there are no videos.",
    )
    height: Edge | None = Field(default=None, description="Height in pixels, given together with `width`.")
    num_frames: Annotated[int, Field(ge=1, le=1025)] | None = Field(
        default=None, description="Number of frames, rounded down to 8k+1."
    )
    frame_rate: Annotated[float, Field(gt=0, le=240)] | None = Field(default=None, description="Frames per second.")
    allow_broken_base: bool = Field(
        default=False,
        description="Train on when a sample of the base model is black, noise or frozen. Otherwise the run stops and "
        "says so, because a LoRA for such a base would be trained in vain. A prompt that says in English that nothing "
        "moves (`stays still`, `static`) may be frozen. For a model with random weights.",
    )

    @model_validator(mode="after")
    def _size_is_whole(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError(f"samples has width {self.width} and height {self.height}; give both or neither")
        return self

    @model_validator(mode="after")
    def _steps_agree(self) -> Self:
        if self.schedule == "distilled" and self.num_steps != DISTILLED_STEPS:
            raise ValueError(
                f"samples.num_steps is {self.num_steps}; the distilled schedule has exactly {DISTILLED_STEPS}"
            )
        return self

    def are_made_in(self, steps: int) -> bool:
        """Return whether a run of so many steps renders any."""
        return 0 < self.every_steps <= steps

    def are_due_at(self, step: int, steps: int) -> bool:
        """Return whether `step` of so many has samples: step 0 those of the base."""
        return step % self.every_steps == 0 or step == steps

    @property
    def whole_frames(self) -> int | None:
        """The number of frames that the VAE has, if one is given."""
        return None if self.num_frames is None else floor_frames(self.num_frames)
