"""How validation videos are rendered."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from tasks.adapter_config import AdapterRunConfig
from tasks.sampling_config import SamplingConfig

Region = tuple[float, float, float, float]
CENTRE: Region = (0.25, 0.25, 0.75, 0.75)


class RenderValidationConfig(SamplingConfig):
    """Base and LoRA get the same noise. Sizes are of prompts, pictures and sounds; clips bring their own."""

    LOCATIONS = ("clip_model",)

    width: int = Field(default=768, ge=64, le=4096, multiple_of=32, description="Pixels, a multiple of 32.")
    height: int = Field(default=512, ge=64, le=4096, multiple_of=32, description="Pixels, a multiple of 32.")
    num_frames: int = Field(default=121, ge=1, le=1025, description="Frames, 8k+1; floored to it with a notice.")
    frame_rate: float = Field(default=25.0, gt=0, le=240, description="Frames per second.")
    seeds: tuple[int, ...] = Field(default=(42,), min_length=1, description="A render for each prompt and seed.")
    image_to_video_clips: int = Field(
        default=0, ge=0, le=100, description="Held-out clips whose first frame starts a render of their caption."
    )
    picture_crf: Literal["official"] | Annotated[int, Field(ge=0, le=51)] = Field(
        default="official",
        description="`prompts.pictures` become a frame of H.264 first, since the models are trained on such: "
        "its constant rate factor. `official`: Lightricks' own, 33 up to LTX-2.3 and 18 from 2.4 on; 0: as they are.",
    )
    picture_strength: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="How firmly a given picture, or a clip's first frame, is kept: 1 as it is; less, and the model may "
        "change it.",
    )
    sound_to_video_clips: int = Field(
        default=0, ge=0, le=100, description="Held-out clips whose sound a render of their caption follows and keeps."
    )
    extend_clips: int = Field(
        default=0, ge=0, le=100, description="Held-out clips whose beginning a render of their caption goes on from."
    )
    extend_latent_frames: int = Field(
        default=2, ge=1, le=128, description="Latent frames given of those clips: n are 8n-7 frames."
    )
    inpaint_clips: int = Field(
        default=0, ge=0, le=100, description="Held-out clips of which a region is made anew after their caption."
    )
    inpaint_region: Region = Field(
        default=CENTRE, description="Made anew: left, top, right, bottom as fractions of the picture."
    )
    inpaint_mask: Path | None = Field(
        default=None, description="Instead of the region a picture: what is black is made anew, what is white is kept."
    )
    adapters: tuple[AdapterRunConfig, ...] = Field(
        default=(), description="Runs with published adapters, such as the distilled LoRA; each renders everything."
    )
    render_without_adapters: bool = Field(default=True, description="Render without them too.")
    render_base: bool = Field(default=True, description="Render the base model too; once for all runs that share it.")
    dtype: str = Field(default="bf16", pattern="^(bf16|fp32)$", description="Precision of the transformer and VAEs.")
    base_precision: Literal["native", "int8", "fp8"] = Field(
        default="native",
        description="Frozen weights of the blocks while renders are sampled: as `dtype`, or held in 8 bits and "
        "dequantised for each product.",
    )
    streamed_blocks: Literal["auto", "all"] | Annotated[int, Field(ge=0)] = Field(
        default="auto",
        description="Blocks whose frozen weights wait on the host. `auto`: the fewest with which the renders fit the "
        "GPU, 0 on the CPU.",
    )
    stream_from: Literal["auto", "memory", "disk"] = Field(
        default="auto",
        description="Where they wait: page-locked memory, or files in the stage's folder, which is slow. `auto`: "
        "memory if there is enough.",
    )
    clip_model: str | None = Field(
        default=None,
        min_length=1,
        description="CLIP model that scores renders against their prompts: a folder of transformers, or a repository "
        "such as `openai/clip-vit-large-patch14`. Default: no score.",
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
    def _region_is_one(self) -> "RenderValidationConfig":
        left, top, right, bottom = self.inpaint_region
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(
                f"inpaint_region is {list(self.inpaint_region)}; left < right and top < bottom from 0 to 1 are wanted"
            )
        return self
