"""What a user may set about CREPA: hidden states of the video that are drawn towards what a vision encoder sees.

pydantic only, like the settings they are part of. The encoder itself belongs to the stage that runs it.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ltx_core.errors import ConfigError

DEFAULT_POWER = 2.0


class CrepaSettings(BaseModel):
    """Cross-frame representation alignment (Hwang et al. 2025, arXiv 2506.09229). In training alone."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    block_index: int = Field(
        default=8, ge=0, description="Block after which the video's hidden states are taken, from 0."
    )
    weight: float = Field(default=0.5, gt=0, le=1000, description="What the alignment counts beside the loss.")
    adjacent_distance: int = Field(
        default=1,
        ge=0,
        le=1024,
        description="So many latent frames away are the neighbours; 0: the frame itself alone.",
    )
    adjacent_tau: float = Field(
        default=1.0, gt=0, le=1000, description="Neighbours d frames away count exp(-d / this) beside the frame itself."
    )
    cumulative_neighbors: bool = Field(
        default=False, description="Neighbours at every distance up to `adjacent_distance`, not at it alone."
    )
    normalize_by_frames: bool = Field(
        default=True, description="Mean over a clip's frames; else their sum, so that long clips count more."
    )
    spatial_align: bool = Field(
        default=True, description="Token by token, each with the features of its place; else means of whole frames."
    )
    schedule: Literal["constant", "linear", "cosine", "polynomial"] = Field(
        default="constant", description="How the weight goes after the warmup."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear rise to `weight`.")
    decay_steps: int | None = Field(
        default=None, ge=1, description="Steps of the fall to `end_weight`; default the rest of the run."
    )
    end_weight: float = Field(default=0.0, ge=0, le=1000, description="Where a fall ends.")
    polynomial_power: float = Field(default=DEFAULT_POWER, gt=0, le=10, description="Power of `polynomial`.")
    cutoff_step: int | None = Field(
        default=None, ge=1, description="From this step on, counted from 0, there is no alignment and it costs nothing."
    )
    similarity_threshold: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Ends it like `cutoff_step`, for good, once the self-similarity, averaged over about a hundred "
        "steps, is so high.",
    )

    @model_validator(mode="after")
    def _schedule_agrees(self) -> Self:
        if self.schedule == "constant" and (self.decay_steps is not None or self.end_weight):
            raise ValueError(
                "decay_steps or end_weight is set with schedule 'constant', which does not fall; use 'linear', "
                "'cosine' or 'polynomial', or leave them out"
            )
        if self.end_weight > self.weight:
            raise ValueError(f"end_weight is {self.end_weight}, above weight {self.weight}; lower it")
        if self.schedule != "polynomial" and self.polynomial_power != DEFAULT_POWER:
            raise ValueError(
                f"polynomial_power is {self.polynomial_power} with schedule {self.schedule!r}; use 'polynomial' or "
                f"leave it out"
            )
        if self.cutoff_step is not None and self.cutoff_step <= self.warmup_steps:
            raise ValueError(
                f"cutoff_step is {self.cutoff_step} but warmup_steps {self.warmup_steps}; end the warmup before it"
            )
        return self

    @model_validator(mode="after")
    def _neighbours_agree(self) -> Self:
        if self.cumulative_neighbors and self.adjacent_distance < 2:
            raise ValueError(
                f"cumulative_neighbors does nothing with adjacent_distance {self.adjacent_distance}; set that to 2 or "
                f"more, or leave it out"
            )
        return self

    @property
    def distances(self) -> tuple[int, ...]:
        """Of the neighbours, in latent frames."""
        first = 1 if self.cumulative_neighbors else max(self.adjacent_distance, 1)
        return tuple(range(first, self.adjacent_distance + 1))


def num_projected(width: int, features: int) -> int:
    """Weights of the projector from hidden states of `width` to `features`: a layer norm and a linear layer."""
    return 2 * width + (width + 1) * features


def check_block(settings: CrepaSettings, num_blocks: int) -> None:
    """See that the model has the block.

    Raises:
        ConfigError: it has not.
    """
    if settings.block_index >= num_blocks:
        raise ConfigError(
            f"crepa.block_index is {settings.block_index}; the model has blocks 0 to {num_blocks - 1}; the "
            f"default is meant for 48"
        )
