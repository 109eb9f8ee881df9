"""The length of a training run, and its learning rate at every step. pydantic only."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from datasets_spec.options import ConfigModel

Scheduler = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "sine"
]
StreamRate = Annotated[float, Field(gt=0, le=1)] | None
CYCLIC = ("cosine_with_restarts", "sine")
DEFAULT_STEPS = 2000


class Schedule(ConfigModel):
    """Steps, and the learning rate over them."""

    steps: int = Field(default=DEFAULT_STEPS, ge=1, le=1_000_000, description="Optimizer steps.")
    epochs: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Number of passes over all clips. Replaces `steps`."
    )
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Highest learning rate of the run.")
    audio_learning_rate: StreamRate = Field(
        default=None,
        exclude_if=lambda value: value is None,  # so that keys of runs without it stay what they were
        description="Highest learning rate of the audio's layers. Default: `learning_rate`. The schedule scales it "
        "likewise.",
    )
    cross_learning_rate: StreamRate = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Highest learning rate of the attention between video and audio. Default: `learning_rate`.",
    )
    scheduler: Scheduler = Field(default="constant", description="Schedule of the learning rate.")
    warmup_steps: int = Field(
        default=0, ge=0, description="Steps in which the learning rate rises linearly. Not with `constant`."
    )
    final_learning_rate: float = Field(
        default=0.0, ge=0, le=1, description="Lowest learning rate of the schedules that fall."
    )
    polynomial_power: float = Field(
        default=1.0, gt=0, le=10, description="Power of the `polynomial` schedule. 1 is linear."
    )
    scheduler_cycles: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Number of falls with `cosine_with_restarts`; number of rises and falls with `sine`.",
    )

    @model_validator(mode="after")
    def _warmup_agrees(self) -> Self:
        if self.scheduler == "constant" and self.warmup_steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} with scheduler 'constant', which has no warmup; use "
                f"'constant_with_warmup' or set warmup_steps to 0"
            )
        if self.scheduler == "constant_with_warmup" and not self.warmup_steps:
            raise ValueError("scheduler 'constant_with_warmup' wants warmup_steps of 1 or more; use 'constant' for 0")
        if self.epochs and self.steps != DEFAULT_STEPS:
            raise ValueError(f"steps is {self.steps} and epochs {self.epochs}; give one of them")
        if self.warmup_steps > self.steps and not self.epochs:
            raise ValueError(f"warmup_steps is {self.warmup_steps} but steps {self.steps}; lower warmup_steps")
        return self

    @model_validator(mode="after")
    def _schedule_agrees(self) -> Self:
        if self.scheduler.startswith("constant") and self.final_learning_rate:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate} with scheduler {self.scheduler!r}, which does not "
                f"fall; use 'linear', 'cosine' or 'polynomial', or leave it out"
            )
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate is {self.final_learning_rate}, above learning_rate {self.learning_rate}; lower it"
            )
        if self.scheduler != "polynomial" and self.polynomial_power != 1:
            raise ValueError(
                f"polynomial_power is {self.polynomial_power} with scheduler {self.scheduler!r}; use 'polynomial' or "
                f"leave it out"
            )
        if self.scheduler not in CYCLIC and self.scheduler_cycles != 1:
            raise ValueError(
                f"scheduler_cycles is {self.scheduler_cycles} with scheduler {self.scheduler!r}, which has none; use "
                f"'cosine_with_restarts' or 'sine', or leave it out"
            )
        return self

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of optimizer step `step`, counted from 0: a function of the settings alone.

        Warmup rises linearly and reaches the full rate at its last step, so no step is spent at rate 0. Falling
        schedules then go from the full rate towards `final_learning_rate`, which the step after the last would have.
        """
        high, low = self.learning_rate, self.final_learning_rate
        if step < self.warmup_steps:
            return high * (step + 1) / self.warmup_steps
        left = max(self.steps - self.warmup_steps, 1)
        return low + (high - low) * _height(step - self.warmup_steps, left, self)

    def rate_factor(self, group: str) -> float:
        """Learning rate of a group of parameters (`video`, `audio`, `cross`, or of a training method) relative to
        `learning_rate`, the same at every step."""
        own = {"audio": self.audio_learning_rate, "cross": self.cross_learning_rate}.get(group)
        return 1.0 if own is None else own / self.learning_rate


def _height(step: int, steps: int, settings: Schedule) -> float:
    """Height in [0, 1] of the schedule at `step` of `steps` after warmup.

    `sine` rises from `final_learning_rate` and falls back to it, each cycle; it is taken at the middle of a step, so
    that the first is not spent at its foot.
    """
    done, cycles = step / steps, settings.scheduler_cycles
    match settings.scheduler:
        case "cosine_with_restarts":
            return (1 + math.cos(math.pi * (cycles * step % steps) / steps)) / 2
        case "sine":
            return (1 - math.cos(2 * math.pi * cycles * (step + 0.5) / steps)) / 2
        case falling:
            return fallen(falling, done, settings.polynomial_power)


def fallen(schedule: str, done: float, power: float) -> float:
    """Height of a schedule that falls from 1 to 0 as `done` goes from 0 to 1; 1 for one that does not."""
    match schedule:
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        case "linear":
            return 1 - done
        case "polynomial":
            return float((1 - done) ** power)
        case _:
            return 1.0
