"""How validation videos are rendered."""

from typing import Literal

from pydantic import Field, model_validator

from tasks.shared import ConfigModel


class RenderValidationConfig(ConfigModel):
    """Base and LoRA get the same noise. Sizes are of text-to-video; the other modes take those of their clip."""

    width: int = Field(default=768, ge=64, le=4096, multiple_of=32, description="Pixels, a multiple of 32.")
    height: int = Field(default=512, ge=64, le=4096, multiple_of=32, description="Pixels, a multiple of 32.")
    num_frames: int = Field(default=121, ge=1, le=1025, description="Frames, 8k+1; floored to it with a notice.")
    frame_rate: float = Field(default=25.0, gt=0, le=240, description="Frames per second.")
    num_steps: int = Field(default=30, ge=2, le=200, description="Sampling steps; `distilled` has 8.")
    schedule: Literal["dev", "distilled"] = Field(default="dev", description="Lightricks' sigma schedule.")
    video_cfg: float = Field(default=3.0, ge=1, le=20, description="Guidance of the picture; 1: none, half the cost.")
    audio_cfg: float = Field(default=7.0, ge=1, le=20, description="Guidance of the sound; 1: none.")
    stg: float = Field(default=0.0, ge=0, le=10, description="Guidance away from perturbed blocks; 0: none.")
    stg_blocks: tuple[int, ...] = Field(default=(), description="Blocks that `stg` perturbs, counted from 0.")
    modality: float = Field(default=1.0, ge=0, le=20, description="Guidance towards agreement of picture and sound.")
    rescale: float = Field(default=0.7, ge=0, le=1, description="How far guidance keeps the prediction's deviation.")
    seeds: tuple[int, ...] = Field(default=(42,), min_length=1, description="A render for each prompt and seed.")
    image_to_video_clips: int = Field(
        default=0, ge=0, le=100, description="Held-out clips whose first frame starts a render of their caption."
    )
    sound_to_video_clips: int = Field(
        default=0, ge=0, le=100, description="Held-out clips whose sound a render of their caption follows and keeps."
    )
    render_base: bool = Field(default=True, description="Render the base model too; once for all runs that share it.")
    dtype: str = Field(default="bf16", pattern="^(bf16|fp32)$", description="Precision of the transformer and VAEs.")

    @model_validator(mode="after")
    def _stg_agrees(self) -> "RenderValidationConfig":
        if bool(self.stg) != bool(self.stg_blocks):
            raise ValueError(
                f"stg is {self.stg} and stg_blocks {list(self.stg_blocks)}; give both or neither (Lightricks perturbs "
                f"block 29 in LTX-2, 28 in 2.3)"
            )
        return self
