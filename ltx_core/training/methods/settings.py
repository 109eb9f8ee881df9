"""The options of all training methods, and what a plan asks of them.

`MethodOptions`, at the end, declares the methods: one field for each. The configuration, its docs, the command line and
the registry of their classes (`registry.METHODS`) follow from it. pydantic only: forms, checks and plans must not wait
for torch. The methods themselves are the other files here, imported when something is trained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, Field, model_validator

from datasets_spec.options import ConfigModel
from ltx_core.errors import ConfigError
from ltx_core.memory.training import MethodMemory

DEFAULT_POWER = 2.0


class CrepaSettings(ConfigModel):
    """Cross-frame representation alignment (Hwang et al. 2025, arXiv 2506.09229). In training alone."""

    block_index: int = Field(
        default=8, ge=0, description="Block after which the hidden states of the video are used, counted from 0."
    )
    weight: float = Field(default=0.5, gt=0, le=1000, description="Weight of the alignment in the loss.")
    adjacent_distance: int = Field(
        default=1,
        ge=0,
        le=1024,
        description="Distance of the neighbouring frames, in latent frames. 0: only the frame itself.",
    )
    adjacent_tau: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="Neighbours at distance d are weighted with exp(-d / adjacent_tau), relative to the frame itself.",
    )
    cumulative_neighbors: bool = Field(
        default=False,
        description="Use the neighbours at all distances up to `adjacent_distance`, not only at that distance.",
    )
    normalize_by_frames: bool = Field(
        default=True,
        description="Use the mean over a clip's frames. Otherwise their sum is used, so that long clips count more.",
    )
    spatial_align: bool = Field(
        default=True,
        description="Compare each token with the features at its position. Otherwise the means of whole frames are "
        "compared.",
    )
    schedule: Literal["constant", "linear", "cosine", "polynomial"] = Field(
        default="constant", description="Schedule of the weight after the warmup."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps in which the weight rises linearly.")
    decay_steps: int | None = Field(
        default=None, ge=1, description="Steps in which the weight falls to `end_weight`. Default: the rest of the run."
    )
    end_weight: float = Field(default=0.0, ge=0, le=1000, description="Weight at the end of the schedule.")
    polynomial_power: float = Field(
        default=DEFAULT_POWER, gt=0, le=10, description="Power of the `polynomial` schedule."
    )
    cutoff_step: int | None = Field(
        default=None,
        ge=1,
        description="From this step on, counted from 0, the alignment is not computed and costs nothing.",
    )
    similarity_threshold: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Ends the alignment permanently, like `cutoff_step`, when the self-similarity, averaged over "
        "about a hundred steps, reaches this value.",
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


Fraction = Annotated[float, Field(ge=0, le=1)]
REFLEXFLOW_DEFAULTS = {"reflexflow_alpha": 1.0, "reflexflow_beta1": 10.0, "reflexflow_beta2": 1.0}


class RolloutSettings(ConfigModel):
    """Rollouts: training on states that the model reached itself.

    In plain training a noisy clip lies on the straight path between clip and noise; in sampling it is the result of the
    model's own last step, with the errors of that step (exposure bias). A rollout starts a sample at a noisier place of
    the path and lets the model go, without gradients, to the noise level that is trained on. Scheduled sampling: Bengio
    et al. 2015 (arXiv 1506.03099); for denoising, Ren et al., Multi-Step Denoising Scheduled Sampling (AAAI 2024).
    """

    probability: Fraction = Field(
        default=0.5, description="Fraction of samples that are rolled out. With a ramp, the fraction at its end."
    )
    start_probability: Fraction = Field(default=0.0, description="Fraction before the ramp and at its beginning.")
    ramp_start_step: int = Field(
        default=0, ge=0, description="Step at which the fraction begins to rise from `start_probability`."
    )
    ramp_steps: int = Field(
        default=0, ge=0, description="Steps from there until the fraction is `probability`. 0: at once."
    )
    ramp_shape: Literal["linear", "cosine"] = Field(
        default="linear", description="Shape of the ramp: a straight line, or slow at both ends (`cosine`)."
    )
    max_sigma_offset: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Largest additional noise that a rollout starts with. The start is never above twice the noise "
        "level that is trained on, nor above 1.",
    )
    strategy: Literal["uniform", "biased_early", "biased_late"] = Field(
        default="uniform",
        description="Distribution of the offset, as a fraction of the largest one. With u uniform in [0, 1): u "
        "(`uniform`), u^2 (`biased_early`, mostly short) or 1 - u^2 (`biased_late`, mostly long).",
    )
    num_model_calls: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Euler steps of a rollout. Each is a forward pass without gradients for the samples that are "
        "rolled out.",
    )
    reflexflow: bool = Field(
        default=False,
        description="Use ReflexFlow's loss for samples that are rolled out. It also counts the direction of the "
        "prediction, and gives more weight to values that the rollout has changed. It needs one more "
        "forward pass without gradients.",
    )
    reflexflow_alpha: float = Field(
        default=1.0,
        ge=0,
        description="Additional weight of values that the rollout has changed. The mean weight stays 1.",
    )
    reflexflow_beta1: float = Field(default=10.0, ge=0, description="Weight of the error of the direction.")
    reflexflow_beta2: float = Field(default=1.0, ge=0, description="Weight of the error of the velocity.")

    @model_validator(mode="after")
    def _ramp_agrees(self) -> Self:
        has_ramp = bool(self.ramp_steps or self.ramp_start_step)
        if self.probability == self.start_probability == 0:
            raise ValueError("probability is 0, so no sample is ever rolled out; raise it, or leave rollout out")
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
                "reflexflow_beta1 and reflexflow_beta2 are both 0, so rolled-out samples teach nothing; raise one"
            )
        return self

    def fraction(self, step: int) -> float:
        """The fraction of samples that optimizer step `step`, counted from 0, rolls out."""
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
        """Forwards without gradients of an occurrence that is rolled out."""
        return self.num_model_calls + self.reflexflow

    def cost(self) -> str:
        """The time that rollouts add, in words. A step without them is a forward and, weights being frozen, a backward
        of about as much, and another forward where blocks are recomputed."""
        fraction = max(self.probability, self.start_probability)
        more = fraction * self.num_forwards
        calls = f"{self.num_forwards} forward{'s' if self.num_forwards > 1 else ''} without gradients"
        return (
            f"train_lora.rollout adds {calls} to {fraction:.0%} of the samples: expect steps of {1 + more / 3:.2f} ("
            f"activation checkpointing in all blocks) to {1 + more / 2:.2f} times the time (none), and more where "
            f"kernels are small, because those run uncompiled"
        )


class Route(ConfigModel):
    """One route, under the names that TREAD's users know. In training alone: sampling runs all tokens."""

    selection_ratio: float = Field(
        gt=0, lt=1, description="Fraction of the video tokens with a loss that skip the blocks of the route."
    )
    start_layer_idx: int = Field(
        description="First block of the route. Negative numbers count from the end; -1 is the last block."
    )
    end_layer_idx: int = Field(description="Last block of the route, included. Negative numbers count from the end.")

    @model_validator(mode="after")
    def _has_blocks(self) -> Self:
        same_side = (self.start_layer_idx < 0) == (self.end_layer_idx < 0)
        if same_side and self.start_layer_idx > self.end_layer_idx:
            raise ValueError(
                f"the route starts at block {self.start_layer_idx} and ends at {self.end_layer_idx}, so it is empty; "
                f"end_layer_idx must not come before start_layer_idx"
            )
        return self


class BlockRoute(NamedTuple):
    """A route over the blocks of a model."""

    first: int
    last: int
    """Both included, counted from 0."""
    ratio: float
    """Fraction of the tokens to be learnt that skip them."""


def block_routes(routes: Sequence[Route], num_blocks: int) -> tuple[BlockRoute, ...]:
    """The routes over a model of `num_blocks`, in the order in which its blocks run.

    Raises:
        ConfigError: a route names a block that is not there, has none, or shares one with another route.
    """
    found = sorted(_over(route, num_blocks) for route in routes)
    for earlier, later in pairwise(found):
        if later.first <= earlier.last:
            raise ConfigError(
                f"tread_routes over blocks {earlier.first} to {earlier.last} and {later.first} to {later.last} "
                f"overlap; end one before the other starts"
            )
    return tuple(found)


def _over(route: Route, num_blocks: int) -> BlockRoute:
    ends = [route.start_layer_idx, route.end_layer_idx]
    first, last = (index + num_blocks if index < 0 else index for index in ends)
    if not (0 <= first < num_blocks and 0 <= last < num_blocks):
        raise ConfigError(
            f"a route of tread_routes goes from block {ends[0]} to {ends[1]}; the model has blocks 0 to "
            f"{num_blocks - 1}, or -{num_blocks} to -1"
        )
    if first > last:
        raise ConfigError(
            f"a route of tread_routes goes from block {ends[0]} to {ends[1]}, which are {first} and {last} of this "
            f"model's {num_blocks}: it is empty; end it at or after its start"
        )
    return BlockRoute(first, last, route.selection_ratio)


@dataclass(frozen=True)
class ImplementedBy:
    """Marks a field as the option of a training method."""

    place: str
    """`FILE.CLASS`: the file in this folder, and the class in it."""


def _is_off(method: BaseModel | None) -> bool:
    """True for an option that dumps leave out: a run without the method is named as it was before there was one."""
    return method is None


class MethodOptions(ConfigModel):
    """The declaration of all training methods: one field for each, in the order in which their hooks run. At its
    default the method is off."""

    dropout: Annotated[float, ImplementedBy("dropout.Dropout")] = Field(
        default=0.0,
        ge=0,
        lt=1,
        exclude_if=lambda value: value == 0,  # so that keys of runs without it stay what they were
        description="Fraction of a layer's input values that its LoRA does not see, drawn for each sample and layer.",
    )
    tread_routes: Annotated[tuple[Route, ...], ImplementedBy("tread.Tread")] = Field(
        default=(),
        description="Runs of blocks that leave a random part of the video's tokens out in training, for speed (TREAD); "
        "never those of a conditioning. Each has `selection_ratio`, `start_layer_idx` and `end_layer_idx`. Eval loss "
        "and sampling take no route.",
    )
    rollout: Annotated[RolloutSettings | None, ImplementedBy("rollout.Rollout")] = Field(
        default=None,
        exclude_if=_is_off,
        description="Train some samples on states that the model has reached itself (scheduled sampling). `{}`: the "
        "defaults.",
    )
    crepa: Annotated[CrepaSettings | None, ImplementedBy("crepa.Crepa")] = Field(
        default=None,
        exclude_if=_is_off,
        description="Align hidden states of the video with a vision encoder's features of the clip's frames and "
        "their neighbours (CREPA). `{}`: the defaults. The stage `embed_frames` runs only with this "
        "option.",
    )
    ema_decay: Annotated[float | None, ImplementedBy("ema.Ema")] = Field(
        default=None,
        gt=0,
        lt=1,
        description="Average the LoRA over the steps with this decay, such as 0.999. The average is evaluated and "
        "exported.",
    )

    def check_blocks(self, num_blocks: int) -> None:
        """See that the model has the blocks that are named.

        Raises:
            ConfigError: it has not.
        """
        block_routes(self.tread_routes, num_blocks)
        if self.crepa is not None and self.crepa.block_index >= num_blocks:
            raise ConfigError(
                f"crepa.block_index is {self.crepa.block_index}; the model has blocks 0 to {num_blocks - 1}; the "
                f"default is meant for 48"
            )

    def check_steps(self, steps: int) -> None:
        """See that what begins or ends at a step does so within the run.

        Raises:
            ValueError: it does not.
        """
        for name in ("warmup_steps", "cutoff_step"):
            if (getattr(self.crepa, name, None) or 0) > steps:
                raise ValueError(f"crepa.{name} is {getattr(self.crepa, name)} but steps {steps}; lower it")

    def check_modalities(self, modalities: str) -> None:
        """See that what is done to the video has one.

        Raises:
            ValueError: only audio is trained.
        """
        given = [name for name in ("tread_routes", "crepa") if getattr(self, name)]
        if given and modalities == "audio":
            raise ValueError(f"{given[0]} is set but modalities 'audio' has no video; leave it out")

    @property
    def needs_frames(self) -> bool:
        """True if a clip must have features of its frames."""
        return self.crepa is not None

    @property
    def masks_inputs(self) -> bool:
        """True if layers of the adapter read other values than those of the base, which are kept for the backward."""
        return self.dropout > 0

    @property
    def averaged(self) -> bool:
        """True if an average of the weights over the steps is kept beside them."""
        return self.ema_decay is not None

    def method_memory(self, width: int, feature_width: int) -> MethodMemory:
        """Memory that the methods take, of a model of this `width` and features of frames of that."""
        projected = num_projected(width, feature_width) if self.crepa else 0
        features = feature_width if self.crepa else 0
        return MethodMemory(projected, features, averaged=self.averaged, extra_forwards=self.rollout is not None)

    def method_warnings(self) -> list[str]:
        """Costs of methods that may not be meant."""
        return [] if self.rollout is None else [self.rollout.cost()]
