"""Options of training. pydantic only: forms and checks must not wait for torch."""

import json
import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ltx_core.adapters.lycoris_settings import LycorisSettings
from ltx_core.io.digest import text_digest
from ltx_core.training.methods.settings import MethodOptions
from ltx_core.training.sample_settings import SampleSettings

Preset = Literal["video", "audio", "audio+video"]
Suffix = Annotated[str, Field(min_length=1, pattern=r"^[a-z0-9_.]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Scheduler = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "sine"
]
CYCLIC = ("cosine_with_restarts", "sine")
DEFAULT_PREFIX = 2
DEFAULT_STEPS = 2000
DEFAULT_RANK = 32
HOW_BLOCKS_RUN = frozenset(
    {
        "activation_checkpointing",
        "activation_budget",
        "activation_offload",
        "offloaded_blocks",
        "offload_to",
        "cuda_graphs",
    }
)
"""Where and when blocks are computed: the same arithmetic."""
FREE_TO_CHANGE = frozenset({"checkpoint_interval", "keep_checkpoints", "keep_best", "samples"}) | HOW_BLOCKS_RUN
"""Settings that leave the weights as they are, so that a run may be resumed with other values."""


class PlainSettings(BaseModel):
    """Settings of a training run that every run has, whatever methods it uses."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(
        default=42, ge=0, lt=2**63, description="Determines the order, noise, sigmas, dropout and the initial LoRA."
    )
    steps: int = Field(default=DEFAULT_STEPS, ge=1, le=1_000_000, description="Optimizer steps.")
    epochs: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Number of passes over all clips. Replaces `steps`."
    )
    batch_size: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Largest number of clips in a forward pass. Clips of different buckets are never mixed, nor "
        "clips with and without audio. A step with fewer clips than possible counts in proportion to "
        "their number.",
    )
    gradient_accumulation_steps: int = Field(
        default=1, ge=1, le=1024, description="Batches whose gradients make one optimizer step."
    )

    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Highest learning rate of the run.")
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

    optimizer: Literal["adamw", "adamw_bf16", "adamw8bit"] = Field(
        default="adamw",
        description="`adamw` keeps the LoRA and the moments in float32, 16 bytes per weight. `adamw_bf16` keeps both "
        "in bfloat16 with stochastic rounding, 8 bytes. `adamw8bit` keeps the moments in 8 bits, 10 "
        "bytes.",
    )
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), description="Decay of AdamW's first and second moment."
    )
    epsilon: float = Field(default=1e-8, gt=0, le=1, description="AdamW's protection against division by zero.")
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="AdamW's decoupled weight decay.")
    max_grad_norm: float = Field(
        default=1.0,
        gt=0,
        description="Gradients are scaled down to this norm. Those of CREPA's projector are clipped separately.",
    )

    rank: int = Field(default=DEFAULT_RANK, ge=1, le=1024, description="Rank of the LoRA.")
    alpha: float | None = Field(
        default=None,
        gt=0,
        description="Scale of the LoRA, multiplied by the rank. Default: the rank. It is folded into the exported "
        "weights.",
    )
    modalities: Literal["audio+video", "video"] = Field(
        default="audio+video",
        description="Modalities that are computed and have a loss. If no clip has audio, the run uses `video`.",
    )
    targets: Preset | tuple[Suffix, ...] | None = Field(
        default=None,
        description="Weights that are trained: a preset of attention projections, or suffixes of layer names such as "
        "`attn1.to_q`. Default: the preset named like `modalities`.",
    )
    lycoris: LycorisSettings | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # so that keys of runs without it stay what they were
        description="Train a LyCORIS adapter (LoKr, LoHa or LoCon, each with or without DoRA) instead of a plain "
        "LoRA. The options are those of the library's own configuration; `linear_dim` and `linear_alpha` "
        "replace `rank` and `alpha`.",
    )
    independent_sigmas: bool = Field(
        default=True,
        description="Draw a separate noise level for the audio; otherwise it has that of the video. No effect with "
        "`modalities: video`.",
    )
    audio_loss_weight: float = Field(
        default=1.0,
        ge=0,
        le=1000,
        description="Weight of the audio loss relative to the video loss, in training and in the eval loss.",
    )
    caption_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Fraction of samples that are trained with an empty caption."
    )
    first_frame_probability: float = Field(
        default=0.0, ge=0, le=1, description="Probability that a sample has a clean first frame, as in image-to-video."
    )
    prefix_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Probability that a sample has a clean prefix, so that the model learns to continue a clip. "
        "Never together with a clean first frame.",
    )
    prefix_latent_frames: int = Field(
        default=DEFAULT_PREFIX,
        ge=1,
        le=1024,
        description="Latent frames of that prefix: n latent frames are 8(n-1)+1 pixel frames. At least one latent "
        "frame of a clip stays noisy.",
    )
    audio_conditioning_probability: float = Field(
        serialization_alias="audio_given_probability",
        default=0.0,
        ge=0,
        le=1,
        description="Probability that the audio of a sample is clean and has no loss, so that the model learns to "
        "generate video for audio.",
    )

    dtype: Literal["bf16", "fp32"] = Field(
        default="bf16", description="Precision in which the frozen base model is computed."
    )
    base_precision: Literal["native", "int8", "fp8"] = Field(
        default="native",
        description="Storage of the frozen block weights: in `dtype`, or in 8 bits with one scale per row, which "
        "takes half the memory.",
    )
    low_precision: Literal["auto", "weights", "products"] = Field(
        default="auto",
        exclude_if=lambda value: value == "auto",  # so that keys of runs without it stay what they were
        description="With 8-bit `base_precision`: `weights` dequantises the weights for each product. `products` "
        "multiplies in 8 bits and also rounds the inputs, which is faster on GPUs that support it (int8: "
        "since Turing, fp8: since Hopper). `auto`: at the first start with a checkpoint, one clip is "
        "computed in both ways and in full precision; depending on the loss of precision, each layer is "
        "multiplied in 8 bits, dequantised, or kept in `dtype`.",
    )
    low_precision_backward: bool = Field(
        default=True,
        description="With 8-bit products: also compute the gradients through them in 8 bits; otherwise in `dtype`, "
        "which is slower.",
    )
    activation_checkpointing: Literal["auto"] | Share = Field(
        serialization_alias="recompute",
        default="auto",
        description="Fraction of the blocks with activation checkpointing: less memory, more time. `auto`: the "
        "smallest fraction that fits on the GPU (or in `memory.gpu_gib`), 0 on the CPU.",
    )
    activation_budget: Literal["auto"] | Share = Field(
        default="auto",
        description="Inside compiled blocks: fraction of the activations that is kept for the backward pass. 0.99 "
        "recomputes only what is cheap; attention is never recomputed. `auto`: the largest fraction that "
        "fits, before whole blocks use activation checkpointing. A resumed run keeps its choice.",
    )
    activation_offload: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        default="auto",
        description="GiB of a step's kept activations that are stored in page-locked host memory until the backward "
        "pass, and copied in parallel with the computation. Gradients have the same bits. `auto`: what "
        "is needed to fit on the GPU, before products are recomputed; at most what can be copied in "
        "time, and half of the free host memory. 0 on the CPU.",
    )
    offloaded_blocks: Literal["auto", "all"] | Annotated[int, Field(ge=0)] = Field(
        serialization_alias="streamed_blocks",
        default="auto",
        description="Block offload: number of blocks whose frozen weights are kept on the host and copied when they "
        "are needed. `auto`: the smallest number with which training fits on the GPU after all blocks "
        "use activation checkpointing, 0 on the CPU.",
    )
    offload_to: Literal["memory", "disk"] = Field(
        serialization_alias="stream_from",
        default="memory",
        description="Where offloaded weights are kept: in page-locked memory, or in files in the stage's folder.",
    )
    compile_blocks: Literal["auto", "on", "off"] = Field(
        default="auto", description="Fuse and compile the blocks. `auto`: on a GPU. Results differ by rounding."
    )
    cuda_graphs: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Launch the kernels of a step with one call. `auto`: on a GPU, unless `offload_to` is `disk`.",
    )
    deterministic: bool = Field(
        default=False,
        exclude_if=lambda value: not value,  # so that keys of runs without it stay what they were
        description="Use only kernels that add in the same order in every run. Then a run that was stopped on a GPU "
        "and continued also ends with the same bytes. It is slower, above all in attention. The CPU has "
        "only such kernels.",
    )
    checkpoint_interval: int = Field(
        default=250, ge=1, description="Steps between checkpoints. The last step always has one."
    )
    keep_checkpoints: int = Field(default=3, ge=1, description="Number of newest checkpoints that are kept.")
    keep_best: int = Field(
        default=1,
        ge=0,
        description="Number of checkpoints with the lowest eval loss that are kept in addition to the newest ones.",
    )
    eval_interval: int = Field(
        default=250, ge=1, description="Steps between eval losses. The first and the last step also have one."
    )
    eval_sigmas: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Number of fixed noise levels of the eval loss. Clips have the same conditioning as in training: "
        "audio, a first frame, a prefix.",
    )
    max_eval_clips: int = Field(
        default=16, ge=1, description="Largest number of held-out clips in an eval loss, chosen by hash."
    )
    log_interval: int = Field(default=10, ge=1, description="Steps that are averaged for one logged value.")
    samples: SampleSettings = Field(
        default=SampleSettings(),
        description="Renders of the first prompts while training runs. They do not change the LoRA: turning them on or "
        "off trains nothing again.",
    )

    @model_validator(mode="after")
    def _low_precision_agrees(self) -> Self:
        if self.base_precision == "native" and self.low_precision != "auto":
            raise ValueError(
                f"low_precision is {self.low_precision!r} with base_precision 'native', which has no 8-bit weights; "
                f"set base_precision to 'int8' or 'fp8', or leave it out"
            )
        if self.low_precision == "weights" and not self.low_precision_backward:
            raise ValueError(
                "low_precision_backward is false with low_precision 'weights', whose gradients are never computed in "
                "8 bits; leave it out"
            )
        return self

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

    @model_validator(mode="after")
    def _conditioning_agrees(self) -> Self:
        both = self.first_frame_probability + self.prefix_probability
        if both > 1:
            raise ValueError(
                f"first_frame_probability {self.first_frame_probability} and prefix_probability "
                f"{self.prefix_probability} make {both:g}; a sample has one or the other, so lower them to 1 in all"
            )
        if not self.prefix_probability and self.prefix_latent_frames != DEFAULT_PREFIX:
            raise ValueError(
                f"prefix_latent_frames is {self.prefix_latent_frames} with prefix_probability 0, which gives no "
                f"prefix; raise prefix_probability or leave it out"
            )
        if self.audio_loss_weight != 1 and self.modalities == "video":
            raise ValueError(
                f"audio_loss_weight is {self.audio_loss_weight} but modalities 'video' has no audio; leave it out"
            )
        if self.audio_conditioning_probability and self.modalities == "video":
            raise ValueError(
                f"audio_conditioning_probability is {self.audio_conditioning_probability} but modalities "
                f"'video', which has no audio; set modalities to 'audio+video'"
            )
        return self

    @model_validator(mode="after")
    def _lycoris_agrees(self) -> Self:
        if self.lycoris is None:
            return self
        if self.rank != DEFAULT_RANK or self.alpha is not None:
            raise ValueError("rank and alpha are those of the plain LoRA; set lycoris.linear_dim and linear_alpha")
        if self.lycoris.apply_preset is not None and self.targets is not None:
            raise ValueError("targets and lycoris.apply_preset both say which layers are changed; give one of them")
        if self.lycoris.dora_wd and self.optimizer == "adamw_bf16":
            raise ValueError(
                "optimizer is 'adamw_bf16' with lycoris.dora_wd: bfloat16 would round the weights' lengths by more "
                "than training changes them; use 'adamw' or 'adamw8bit'"
            )
        return self

    @model_validator(mode="after")
    def _targets_work(self) -> Self:
        if self.targets == ():
            raise ValueError("targets is an empty list; name a layer, or leave it out for a preset")
        if self.modalities == "video" and self.targets in ("audio", "audio+video"):
            raise ValueError(
                f"targets is {self.targets!r} but modalities 'video': those weights would not work and never train; "
                f"set targets to 'video' or modalities to 'audio+video'"
            )
        return self

    @property
    def lora_alpha(self) -> float:
        return float(self.rank if self.alpha is None else self.alpha)

    @property
    def lora_targets(self) -> Preset | tuple[str, ...]:
        return self.modalities if self.targets is None else self.targets

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


class TrainSettings(MethodOptions, PlainSettings):
    """Settings of one training run, methods included. Same settings, same data, same base: same LoRA."""

    @model_validator(mode="after")
    def _crepa_agrees(self) -> Self:
        if self.crepa is None or self.epochs:
            return self
        for name in ("warmup_steps", "cutoff_step"):
            if (getattr(self.crepa, name) or 0) > self.steps:
                raise ValueError(f"crepa.{name} is {getattr(self.crepa, name)} but steps {self.steps}; lower it")
        return self

    @model_validator(mode="after")
    def _dropout_agrees(self) -> Self:
        if self.dropout and self.lycoris is not None:
            raise ValueError(
                f"dropout is {self.dropout} with lycoris; it is built for the plain LoRA alone, leave it out"
            )
        return self

    def digest(self) -> str:
        """Names every setting that can change the LoRA or its figures."""
        return text_digest(json.dumps(self.kept(), sort_keys=True))

    def kept(self) -> dict[str, Any]:
        """Every setting that can change the LoRA or its figures, as keys and a LoRA's header have them: as JSON, by the
        name that the setting had first."""
        return self.model_dump(mode="json", exclude=set(FREE_TO_CHANGE), by_alias=True)


def _height(step: int, steps: int, settings: PlainSettings) -> float:
    """Height in [0, 1] of the schedule at `step` of `steps` after warmup.

    `sine` rises from `final_learning_rate` and falls back to it, each cycle; it is taken at the middle of a step, so
    that the first is not spent at its foot.
    """
    done, cycles = step / steps, settings.scheduler_cycles
    match settings.scheduler:
        case "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        case "cosine_with_restarts":
            return (1 + math.cos(math.pi * (cycles * step % steps) / steps)) / 2
        case "sine":
            return (1 - math.cos(2 * math.pi * cycles * (step + 0.5) / steps)) / 2
        case "linear" | "polynomial":
            return (1 - done) ** settings.polynomial_power  # linear is power 1
        case _:
            return 1.0
