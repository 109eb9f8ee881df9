"""Options for sampling a render, which a validation run sets once for all renders and may replace for some."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from datasets_spec.options import ConfigModel
from ltx_core.adapters.locate import HubAdapter, hub_adapter
from ltx_core.errors import ConfigError, ShapeError
from ltx_core.sampling.guidance import Guidance, Official, StreamGuidance, official
from ltx_core.sampling.request import check_halves, check_sigmas
from ltx_core.sampling.schedule import UPSCALED_SIGMAS, check_steps
from ltx_core.training.condition_settings import CENTRE, Region, check_region
from tasks.runtime.conditions import ComposedClips
from tasks.runtime.shared import ModelConfig, Shared
from tasks.runtime.weights import open_model


class SamplingConfig(ConfigModel):
    """Steps and guidance."""

    guidance: Literal["own", "official"] = Field(
        default="own",
        description="`official`: the settings that Lightricks ships for the release of the full model: the number of "
        "steps (40 for 2.0, otherwise 30), `stg` with its block, and `modality`, with four forward "
        "passes a step instead of two. The options for these must be left out. The default of "
        "`prompts.negative` then also names audio artefacts. Runs of `adapters` with settings of their "
        "own use those.",
    )
    num_steps: int = Field(default=30, ge=2, le=200, description="Sampling steps. `distilled` has 8.")
    schedule: Literal["dev", "distilled"] = Field(default="dev", description="Lightricks' schedule of sigmas.")
    video_cfg: float = Field(
        default=3.0, ge=1, le=20, description="Guidance scale of the video. 1: no guidance, at half the cost."
    )
    audio_cfg: float = Field(default=7.0, ge=1, le=20, description="Guidance scale of the audio. 1: no guidance.")
    stg: float = Field(
        default=0.0, ge=0, le=10, description="Scale of the guidance away from perturbed blocks (STG). 0: none."
    )
    stg_blocks: tuple[int, ...] = Field(default=(), description="Blocks that `stg` perturbs, counted from 0.")
    modality: float = Field(
        default=1.0, ge=0, le=20, description="Scale of the guidance towards agreement of video and audio."
    )
    rescale: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="How far guidance preserves the standard deviation of the prediction, from 0 to 1.",
    )

    @model_validator(mode="after")
    def _stg_agrees(self) -> "SamplingConfig":
        if bool(self.stg) != bool(self.stg_blocks):
            raise ValueError(
                f"stg is {self.stg} and stg_blocks {list(self.stg_blocks)}; give both or neither (Lightricks perturbs "
                f"block 29 in LTX-2, 28 in 2.3)"
            )
        return self

    @model_validator(mode="after")
    def _official_is_whole(self) -> "SamplingConfig":
        if self.guidance == "official" and (own := self.numbers() - {"guidance"}):
            raise ValueError(
                f"guidance is official, which decides {', '.join(sorted(own))} too; leave out the one or the other"
            )
        return self

    @model_validator(mode="after")
    def _steps_agree(self) -> "SamplingConfig":
        try:
            check_steps(self.schedule, self.num_steps)
        except ConfigError as error:
            raise ValueError(f"{error}; set num_steps with schedule: distilled") from error
        return self

    def numbers(self) -> set[str]:
        """Names of the options of sampling that differ from their defaults."""
        fields = SamplingConfig.model_fields
        return {name for name, field in fields.items() if getattr(self, name) != field.default}

    def streams(self) -> Guidance:
        """The scales of both streams, where they are its own."""
        video, audio = (
            StreamGuidance(cfg=cfg, stg=self.stg, modality=self.modality, rescale=self.rescale)
            for cfg in (self.video_cfg, self.audio_cfg)
        )
        return Guidance(video=video, audio=audio, stg_blocks=self.stg_blocks)


class SamplingOverrides(ConfigModel):
    """Options that replace the settings of all renders; None: as there."""

    num_steps: int | None = Field(
        default=None, ge=2, le=200, description="Sampling steps of this run. 8 with `distilled`."
    )
    schedule: Literal["dev", "distilled"] | None = Field(default=None, description="Schedule of this run.")
    video_cfg: float | None = Field(
        default=None, ge=1, le=20, description="Guidance scale of the video for this run. 1 with `distilled`."
    )
    audio_cfg: float | None = Field(default=None, ge=1, le=20, description="Guidance scale of the audio for this run.")
    stg: float | None = Field(default=None, ge=0, le=10, description="`stg` of this run. 0 needs no `stg_blocks`.")
    stg_blocks: tuple[int, ...] | None = Field(default=None, description="`stg_blocks` of this run.")
    modality: float | None = Field(default=None, ge=0, le=20, description="`modality` of this run.")
    rescale: float | None = Field(default=None, ge=0, le=1, description="`rescale` of this run.")

    def over(self, shared: SamplingConfig) -> SamplingConfig:
        """The shared settings with these in their place; with any of these, nothing is official.

        Raises:
            ValidationError: they cannot work together.
        """
        names = SamplingConfig.model_fields
        settings = {name: getattr(shared, name) for name in names}
        own = {name: value for name in names if (value := getattr(self, name, None)) is not None}
        settings |= own | ({"guidance": "own"} if own else {})
        if not settings["stg"]:
            settings["stg_blocks"] = ()
        return SamplingConfig.model_validate(settings)


class WeightsConfig(ConfigModel):
    """A file of weights. Text alone stands for `hub` if it is `owner/name:weights.safetensors`, else for `path`."""

    path: Path | None = Field(default=None, description="The file, or a folder with one `.safetensors` file.")
    hub: str | None = Field(
        default=None,
        description="A file on the Hugging Face hub, as `owner/name:weights.safetensors`. Replaces `path`.",
    )
    revision: str | None = Field(default=None, description="With `hub`: branch, tag or commit. Default: main.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return {"hub": value} if ":" in value and hub_adapter(value) else {"path": value}

    @model_validator(mode="after")
    def _one_place(self) -> "WeightsConfig":
        if (self.path is None) == (self.hub is None):
            raise ValueError("weights have a path or a hub, one of them")
        if self.hub is not None and hub_adapter(self.hub) is None:
            raise ValueError(f"hub is {self.hub!r}; `owner/name:weights.safetensors` is wanted")
        if self.revision is not None and self.hub is None:
            raise ValueError("revision goes with hub; a local file has none")
        return self

    def place(self, *, here_only: bool = False) -> Path | HubAdapter:
        """Where the file is to be found; `here_only`: among what was downloaded before."""
        if self.path is not None:
            return self.path
        found = hub_adapter(str(self.hub), self.revision, here_only=here_only)
        assert found is not None  # _one_place has seen to it
        return found


class AdapterConfig(WeightsConfig):
    """One adapter: a file of weights with a strength."""

    strength: float = Field(default=1.0, allow_inf_nan=False, description="Strength of the adapter; not 0.")

    @field_validator("strength")
    @classmethod
    def _adds_something(cls, value: float) -> float:
        if value == 0:
            raise ValueError("strength 0 adds nothing; leave the adapter out")
        return value


def _listed(value: Any) -> Any:
    """One adapter as a list of one."""
    return [value] if isinstance(value, (str, dict)) else value


Adapters = Annotated[tuple[AdapterConfig, ...], BeforeValidator(_listed)]


class UpscalingConfig(ConfigModel):
    """Two-stage renders, as Lightricks' pipelines make them: at half the width and height first, then upscaled and
    sampled further in a few steps."""

    upsampler: WeightsConfig = Field(
        description="Lightricks' spatial upscaler, such as `ltx-2-spatial-upscaler-x2-1.0.safetensors`."
    )
    adapters: Adapters = Field(
        default=(),
        description="Adapters for the steps after upscaling, such as the distilled LoRA; a distilled checkpoint needs "
        "none.",
    )
    sigmas: tuple[float, ...] = Field(
        default=UPSCALED_SIGMAS, description="Noise levels of these steps, falling to 0. They have no guidance."
    )

    @field_validator("sigmas")
    @classmethod
    def _sigmas_fall(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        try:
            check_sigmas(value)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return value


class AdapterRunConfig(SamplingOverrides):
    """Renders of every prompt with these adapters. Text alone stands for a run of that one adapter."""

    name: str = Field(
        max_length=100,
        pattern=r"^[\w.-]+$",
        description="Name that is shown beside the renders. Letters, digits, `_`, `.` and `-`.",
    )
    adapters: Adapters = Field(min_length=1, description="All of them at once.")
    base: bool = Field(default=True, description="Render the base model with these adapters.")
    lora: bool = Field(default=True, description="Render the base model with these adapters and the trained LoRA.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": Path(value.rpartition(":")[2]).stem, "adapters": [value]}
        return value

    @model_validator(mode="after")
    def _renders_something(self) -> "AdapterRunConfig":
        if not (self.base or self.lora):
            raise ValueError(f"run {self.name!r} has base and lora off and would render nothing")
        return self


class RenderValidationConfig(SamplingConfig):
    """Base and LoRA get the same noise. Sizes are of prompts, video and audio; clips bring their own."""

    LOCATIONS = ("clip_model",)

    width: int = Field(default=768, ge=64, le=4096, multiple_of=32, description="Width in pixels, a multiple of 32.")
    height: int = Field(default=512, ge=64, le=4096, multiple_of=32, description="Height in pixels, a multiple of 32.")
    num_frames: int = Field(
        default=121, ge=1, le=1025, description="Number of frames. Rounded down to 8k+1 with a warning."
    )
    frame_rate: float = Field(default=25.0, gt=0, le=240, description="Frames per second.")
    seeds: tuple[int, ...] = Field(
        default=(42,), min_length=1, description="Seeds. There is one render for each prompt and seed."
    )
    audio_only: bool = Field(
        default=False,
        exclude_if=lambda value: not value,  # so that keys of renders without it stay what they were
        description="Render the audio of `prompts.validation` without a video. The mp4 shows its spectrogram.",
    )
    image_to_video_clips: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Number of held-out clips whose first frame and caption are used for a render.",
    )
    image_crf: Literal["official"] | Annotated[int, Field(ge=0, le=51)] = Field(
        serialization_alias="picture_crf",
        default="official",
        description="`prompts.images` are first compressed as a frame of H.264 with this constant rate factor, "
        "because the models were trained on such images. `official`: Lightricks' own factor, 33 up to "
        "LTX-2.3 and 18 from 2.4 on. 0: no compression.",
    )
    image_strength: float = Field(
        serialization_alias="picture_strength",
        default=1.0,
        gt=0,
        le=1,
        description="How firmly an image, or the first frame of a clip, is kept. 1: unchanged. With smaller values "
        "the model may change it.",
    )
    audio_to_video_clips: int = Field(
        serialization_alias="sound_to_video_clips",
        default=0,
        ge=0,
        le=100,
        description="Number of held-out clips whose audio and caption are used for a render. The audio is kept.",
    )
    video_to_audio_clips: int = Field(
        default=0,
        ge=0,
        le=100,
        exclude_if=lambda value: not value,  # so that keys of renders without it stay what they were
        description="Number of held-out clips whose video and caption are used for a render of its audio. The video "
        "is kept.",
    )
    extend_clips: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Number of held-out clips whose beginning and caption are used for a render that continues them.",
    )
    extend_latent_frames: int = Field(
        default=2,
        ge=1,
        le=128,
        description="Latent frames at the beginning of those clips that are kept: n latent frames are 8n-7 frames.",
    )
    inpaint_clips: int = Field(
        default=0,
        ge=0,
        le=100,
        description="Number of held-out clips in which a region is generated again by their caption.",
    )
    inpaint_region: Region = Field(
        default=CENTRE, description="Region that is generated: left, top, right and bottom, as fractions of the frame."
    )
    inpaint_mask: Path | None = Field(
        default=None, description="Image that replaces the region: black parts are generated, white parts are kept."
    )
    reference_clips: int = Field(
        default=0,
        ge=0,
        le=100,
        exclude_if=lambda value: not value,  # so that keys of renders without it stay what they were
        description="Number of held-out clips whose reference and caption are used for a render.",
    )
    composed: tuple[ComposedClips, ...] = Field(
        default=(),
        exclude_if=lambda value: not value,  # so that keys of renders without it stay what they were
        description="Renders of held-out clips of which several parts are kept, such as both ends.",
    )
    adapters: tuple[AdapterRunConfig, ...] = Field(
        default=(), description="Runs with published adapters, such as the distilled LoRA; each renders everything."
    )
    upscaling: UpscalingConfig | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # so that keys of renders without it stay what they were
        description="Two-stage renders, as Lightricks' pipelines make them: at half the width and height, which must "
        "be multiples of 64, then upscaled by `upsampler`, Lightricks' spatial upscaler x2, and sampled on at the "
        "noise levels of `sigmas` without guidance. `adapters` are added for these steps, such as the distilled LoRA; "
        "a distilled checkpoint needs none. Default: one stage.",
    )
    render_without_adapters: bool = Field(default=True, description="Also render without the adapters.")
    render_base: bool = Field(
        default=True, description="Also render the base model. This is done once for all runs that use it."
    )
    dtype: str = Field(
        default="bf16", pattern="^(bf16|fp32)$", description="Precision of the transformer and the VAEs."
    )
    base_precision: Literal["native", "int8", "fp8"] = Field(
        default="native",
        description="Storage of the frozen block weights for renders: in `dtype`, or in 8 bits and dequantised for "
        "each product.",
    )
    offloaded_blocks: Literal["auto", "all"] | Annotated[int, Field(ge=0)] = Field(
        serialization_alias="streamed_blocks",
        default="auto",
        description="Block offload: number of blocks whose frozen weights are kept on the host. `auto`: the smallest "
        "number with which the renders fit on the GPU, 0 on the CPU.",
    )
    offload_to: Literal["auto", "memory", "disk"] = Field(
        serialization_alias="stream_from",
        default="auto",
        description="Where offloaded weights are kept: in page-locked memory, or in files in the stage's folder, "
        "which is slow. `auto`: in memory if there is enough.",
    )
    clip_model: str | None = Field(
        default=None,
        min_length=1,
        description="CLIP model that scores renders against their prompts: a folder in transformers' layout, or a "
        "repository such as `openai/clip-vit-large-patch14`. Default: no score.",
    )

    @model_validator(mode="after")
    def _runs_agree(self) -> "RenderValidationConfig":
        names = [run.name for run in self.adapters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"adapters has two runs named {twice[0]!r}; names must differ")
        if not self.adapters and not self.render_without_adapters:
            raise ValueError("render_without_adapters is off and there are no adapters: nothing would be rendered")
        for run in self.adapters:
            try:
                run.over(self)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"adapters run {run.name!r}: {reason}") from error
        return self

    @model_validator(mode="after")
    def _halves_are_whole(self) -> "RenderValidationConfig":
        if self.upscaling is not None:
            try:
                check_halves(self.width, self.height)
            except ShapeError as error:
                raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _region_is_one(self) -> "RenderValidationConfig":
        check_region(self.inpaint_region, "inpaint_region")
        return self


def shipped(model: ModelConfig) -> Official:
    """The settings of the checkpoint's release.

    Raises:
        LtxError: as for `open_model`.
    """
    checkpoint = open_model(model)
    blocks = {name.split(".")[1] for name in checkpoint.shapes("transformer") if name.startswith("transformer_blocks.")}
    return official(checkpoint.generation, checkpoint.model_version, len(blocks))


def in_numbers(sampling: SamplingConfig, model: ModelConfig) -> SamplingConfig:
    """The same with the release's own numbers, where they are official.

    Raises:
        LtxError: as for `open_model`.
    """
    if sampling.guidance != "official":
        return sampling
    found = shipped(model)
    video, audio = found.guidance.video, found.guidance.audio
    return SamplingConfig(
        num_steps=found.num_steps,
        video_cfg=video.cfg,
        audio_cfg=audio.cfg,
        stg=video.stg,
        stg_blocks=found.guidance.stg_blocks,
        modality=video.modality,
        rescale=video.rescale,
    )


def image_crf(config: RenderValidationConfig, shared: Shared) -> int:
    """Return the rate factor at which images are compressed; 0: they are not."""
    return shipped(shared.model).image_crf if config.image_crf == "official" else config.image_crf
