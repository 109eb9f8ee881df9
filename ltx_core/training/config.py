"""Options of training. pydantic only: forms and checks must not wait for torch."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ltx_core.io.digest import text_digest
from ltx_core.training.adapter_settings import AdapterSettings
from ltx_core.training.condition_settings import WHOLE_STREAMS, ConditionSettings
from ltx_core.training.methods.settings import MethodOptions
from ltx_core.training.sample_settings import SampleSettings

Fraction = Annotated[float, Field(ge=0, le=1)]
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


LEAST_PRODIGY_RATE = 0.1
"""A learning rate for Prodigy that is lower was meant for another optimizer."""


class PlainSettings(ConditionSettings, AdapterSettings):
    """Settings of a training run that every run has, whatever methods it uses."""

    seed: int = Field(
        default=42, ge=0, lt=2**63, description="Determines the order, noise, sigmas, dropout and the initial LoRA."
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

    optimizer: Literal["adamw", "adamw_bf16", "adamw8bit", "prodigy", "adafactor"] = Field(
        default="adamw",
        description="`adamw` keeps the LoRA and the moments in float32, 16 bytes per weight. `adamw_bf16` keeps both "
        "in bfloat16 with stochastic rounding, 8 bytes. `adamw8bit` keeps the moments in 8 bits, 10 bytes. `prodigy` "
        "estimates the learning rate, and `learning_rate`, which is 1 if it is left out, multiplies the estimate; 28 "
        "bytes. `adafactor` keeps moments of rows and columns alone, 9 bytes at most.",
    )
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), description="Decay of the first and second moment. Not with `adafactor`."
    )
    epsilon: float = Field(
        default=1e-8, gt=0, le=1, description="Protection against division by zero. Not with `adafactor`."
    )
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="Decoupled weight decay.")
    max_grad_norm: float = Field(
        default=1.0,
        gt=0,
        description="Gradients are scaled down to this norm. Those of CREPA's projector are clipped separately.",
    )

    independent_sigmas: bool = Field(
        default=True,
        description="Draw a separate noise level for the audio; otherwise it has that of the video. No effect on a "
        "single modality.",
    )
    sigma_sampling: Literal["shifted_logit_normal", "logit_normal", "uniform"] = Field(
        default="shifted_logit_normal",
        exclude_if=lambda value: value == "shifted_logit_normal",  # so that keys of runs without it stay what they were
        description="Distribution of the noise levels. `shifted_logit_normal`: as LTX-2 was trained, a logit-normal "
        "whose mean rises with the number of tokens, and one draw of ten uniform. `logit_normal`: by "
        "`sigma_mean` and `sigma_std`, whatever the size of a clip; a mean above 0 trains high noise more, which "
        "decides layout and motion. `uniform`: all alike, which trains low noise, and so details, more.",
    )
    sigma_mean: float = Field(
        default=0.0,
        ge=-10,
        le=10,
        exclude_if=lambda value: value == 0,
        description="Mean under the logit of a noise level with `logit_normal`.",
    )
    sigma_std: float = Field(
        default=1.0,
        gt=0,
        le=10,
        exclude_if=lambda value: value == 1,
        description="Standard deviation under the logit of a noise level with `logit_normal`.",
    )
    audio_loss_weight: float = Field(
        default=1.0,
        ge=0,
        le=1000,
        description="Weight of the audio loss relative to the video loss, in training and in the eval loss.",
    )
    audio_loss_ratio: float | None = Field(
        default=None,
        gt=0,
        le=100,
        exclude_if=lambda value: value is None,  # so that keys of runs without it stay what they were
        description="Weight the audio loss, from 0.05 to 4, so that its average over the last hundred steps or so "
        "becomes this fraction of the video loss's. The weight is logged as `loss_weight/audio`; the eval loss has a "
        "weight of 1. Default: `audio_loss_weight` counts.",
    )
    caption_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Fraction of samples that are trained with an empty caption."
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
    activation_checkpointing: Literal["auto"] | Fraction = Field(
        serialization_alias="recompute",
        default="auto",
        description="Fraction of the blocks with activation checkpointing: less memory, more time. `auto`: the "
        "smallest fraction that fits on the GPU (or in `memory.gpu_gib`), 0 on the CPU.",
    )
    activation_budget: Literal["auto"] | Fraction = Field(
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
    def _sigmas_agree(self) -> Self:
        if self.sigma_sampling != "logit_normal" and (self.sigma_mean != 0 or self.sigma_std != 1):
            raise ValueError(
                f"sigma_mean is {self.sigma_mean:g} and sigma_std {self.sigma_std:g} with sigma_sampling "
                f"{self.sigma_sampling!r}, which has neither; set it to 'logit_normal' or leave them out"
            )
        return self

    @model_validator(mode="after")
    def _ratio_has_two_losses(self) -> Self:
        if self.audio_loss_ratio is None:
            return self
        if self.audio_loss_weight != 1:
            raise ValueError(
                f"audio_loss_ratio is {self.audio_loss_ratio:g} and audio_loss_weight {self.audio_loss_weight:g}, "
                f"which it would replace; give one of them"
            )
        always = [name for name in WHOLE_STREAMS if getattr(self, name) == 1]
        if self.modalities != "audio+video" or always:
            why = f"{always[0]} 1" if always else f"modalities {self.modalities!r}"
            raise ValueError(f"audio_loss_ratio is set but {why} leaves one loss; leave it out")
        return self

    @model_validator(mode="after")
    def _both_streams_are_there(self) -> Self:
        if self.modalities == "audio+video":
            return self
        if self.audio_loss_weight != 1:
            raise ValueError(
                f"audio_loss_weight is {self.audio_loss_weight} but modalities {self.modalities!r} has one loss; leave "
                f"it out"
            )
        absent = "audio" if self.modalities == "video" else "video"
        for name, value in self.conditions_of(absent).items():
            raise ValueError(
                f"{name} is {value} but modalities {self.modalities!r}, which has no {absent}; set modalities to "
                f"'audio+video'"
            )
        return self

    @model_validator(mode="after")
    def _dora_agrees_with_the_optimizer(self) -> Self:
        if self.lycoris is not None and self.lycoris.dora_wd and self.optimizer == "adamw_bf16":
            raise ValueError(
                "optimizer is 'adamw_bf16' with lycoris.dora_wd: bfloat16 would round the weights' lengths by more "
                "than training changes them; use 'adamw' or 'adamw8bit'"
            )
        return self


class TrainSettings(MethodOptions, PlainSettings):
    """Settings of one training run, methods included. Same settings, same data, same base: same LoRA."""

    @model_validator(mode="before")
    @classmethod
    def _prodigy_has_a_rate_of_its_own(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("optimizer") == "prodigy" and "learning_rate" not in values:
            return values | {"learning_rate": 1.0}
        return values

    @model_validator(mode="after")
    def _optimizer_agrees(self) -> Self:
        names = ("learning_rate", "audio_learning_rate", "cross_learning_rate")
        rates = {name: rate for name in names if (rate := getattr(self, name)) is not None}
        if self.optimizer == "prodigy" and (low := {n: r for n, r in rates.items() if r < LEAST_PRODIGY_RATE}):
            name, rate = next(iter(low.items()))
            raise ValueError(
                f"{name} is {rate:g} with optimizer 'prodigy', which estimates a learning rate and multiplies it by "
                f"this one: 1 is meant, and {LEAST_PRODIGY_RATE} is the least; leave it out"
            )
        unused = [name for name in ("betas", "epsilon") if getattr(self, name) != type(self).model_fields[name].default]
        if self.optimizer == "adafactor" and unused:
            raise ValueError(
                f"optimizer is 'adafactor', which has a rule of its own for the decay of its moments and for small "
                f"ones; leave out {' and '.join(unused)}"
            )
        return self

    @model_validator(mode="after")
    def _methods_agree(self) -> Self:
        if not self.epochs:
            self.check_steps(self.steps)
        self.check_modalities(self.modalities)
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
