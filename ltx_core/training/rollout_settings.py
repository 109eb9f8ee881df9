"""What a user may set about rollouts: training on states that the model reached itself. pydantic only.

In plain training a noisy clip lies on the straight path between clip and noise; in sampling it is what the model made
of its own last step, with the errors of that step (exposure bias). A rollout starts a visit at a noisier place of the
path and lets the model go, without gradients, to the noise level that is trained on. Scheduled sampling: Bengio et al.
2015 (arXiv 1506.03099); for denoising, Ren et al., Multi-Step Denoising Scheduled Sampling (AAAI 2024).
"""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
REFLEXFLOW_DEFAULTS = {"reflexflow_alpha": 1.0, "reflexflow_beta1": 10.0, "reflexflow_beta2": 1.0}


class RolloutSettings(BaseModel):
    """Which visits are rolled out, how far, and what their loss is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    probability: Share = Field(default=0.5, description="Share of visits that are rolled out; with a ramp, at its end.")
    start_probability: Share = Field(default=0.0, description="That share before and at the beginning of a ramp.")
    ramp_start_step: int = Field(default=0, ge=0, description="Step at which the share leaves `start_probability`.")
    ramp_steps: int = Field(default=0, ge=0, description="Steps from there until it is `probability`; 0: at once.")
    ramp_shape: Literal["linear", "cosine"] = Field(
        default="linear", description="Straight, or slow at both ends (`cosine`)."
    )
    max_sigma_offset: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="How much more noise a rollout starts with at most. Never more than is left after it, so it starts "
        "at twice the noise level that is trained on, or at 1, if that is less.",
    )
    strategy: Literal["uniform", "biased_early", "biased_late"] = Field(
        default="uniform",
        description="How the offset is drawn, u being uniform in [0, 1): u, u^2 (`biased_early`: rather short) or "
        "1 - u^2 (`biased_late`: rather long), times the most.",
    )
    num_model_calls: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Euler steps of a rollout, each a forward without gradients of the visits that are rolled out.",
    )
    reflexflow: bool = Field(
        default=False,
        description="ReflexFlow's loss for rolled-out visits: their direction counts too, and what the rollout spoilt "
        "counts more. One forward without gradients more.",
    )
    reflexflow_alpha: float = Field(
        default=1.0, ge=0, description="How much more spoilt values count; the mean weight stays 1."
    )
    reflexflow_beta1: float = Field(default=10.0, ge=0, description="What the direction's error counts.")
    reflexflow_beta2: float = Field(default=1.0, ge=0, description="What the velocity's error counts.")

    @model_validator(mode="after")
    def _ramp_agrees(self) -> Self:
        has_ramp = bool(self.ramp_steps or self.ramp_start_step)
        if self.probability == self.start_probability == 0:
            raise ValueError("probability is 0, so no visit is ever rolled out; raise it, or leave rollout out")
        if self.start_probability and not has_ramp:
            raise ValueError(
                f"start_probability is {self.start_probability} without a ramp, so no step has it; set ramp_steps or "
                f"ramp_start_step, or leave it out"
            )
        if self.ramp_shape != "linear" and not self.ramp_steps:
            raise ValueError(f"ramp_shape is {self.ramp_shape!r} with ramp_steps 0; set ramp_steps or leave it out")
        return self

    @model_validator(mode="after")
    def _reflexflow_agrees(self) -> Self:
        changed = [name for name, value in REFLEXFLOW_DEFAULTS.items() if getattr(self, name) != value]
        if changed and not self.reflexflow:
            raise ValueError(f"{', '.join(changed)} set while reflexflow is false; set it to true or leave them out")
        if self.reflexflow_beta1 == self.reflexflow_beta2 == 0:
            raise ValueError(
                "reflexflow_beta1 and reflexflow_beta2 are both 0, so rolled-out visits teach nothing; raise one"
            )
        return self

    def share(self, step: int) -> float:
        """The share of visits that optimizer step `step`, counted from 0, rolls out."""
        since = step - self.ramp_start_step
        if since >= self.ramp_steps:
            return self.probability
        if since < 0:
            return self.start_probability
        done = since / self.ramp_steps
        if self.ramp_shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return self.start_probability + done * (self.probability - self.start_probability)

    @property
    def num_forwards(self) -> int:
        """Forwards without gradients of a visit that is rolled out."""
        return self.num_model_calls + self.reflexflow
