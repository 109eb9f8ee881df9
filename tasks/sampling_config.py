"""How one render is sampled: what a validation run may say once for all renders, and again for some."""

from typing import Literal

from pydantic import Field, model_validator

from ltx_core.errors import ConfigError
from ltx_core.sampling.guidance import Guidance, StreamGuidance
from ltx_core.sampling.schedule import check_steps
from tasks.shared import ConfigModel


class SamplingConfig(ConfigModel):
    """Steps and guidance."""

    guidance: Literal["own", "official"] = Field(
        default="own",
        description="`official`: what Lightricks ships for the release of the full model: steps (40 on 2.0, else 30), "
        "`stg` and its block, `modality`, four forwards a step instead of two; the options of these are left out. The "
        "default of `prompts.negative` then names faults of sound too. Runs of `adapters` with numbers of their own "
        "are guided by those.",
    )
    num_steps: int = Field(default=30, ge=2, le=200, description="Sampling steps; `distilled` has 8.")
    schedule: Literal["dev", "distilled"] = Field(default="dev", description="Lightricks' sigma schedule.")
    video_cfg: float = Field(default=3.0, ge=1, le=20, description="Guidance of the picture; 1: none, half the cost.")
    audio_cfg: float = Field(default=7.0, ge=1, le=20, description="Guidance of the sound; 1: none.")
    stg: float = Field(default=0.0, ge=0, le=10, description="Guidance away from perturbed blocks; 0: none.")
    stg_blocks: tuple[int, ...] = Field(default=(), description="Blocks that `stg` perturbs, counted from 0.")
    modality: float = Field(default=1.0, ge=0, le=20, description="Guidance towards agreement of picture and sound.")
    rescale: float = Field(default=0.7, ge=0, le=1, description="How far guidance keeps the prediction's deviation.")

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
    """What differs from the settings that all renders share; none: as there."""

    num_steps: int | None = Field(default=None, ge=2, le=200, description="Other steps; 8 with `distilled`.")
    schedule: Literal["dev", "distilled"] | None = Field(default=None, description="Another schedule.")
    video_cfg: float | None = Field(default=None, ge=1, le=20, description="Other guidance; 1 with `distilled`.")
    audio_cfg: float | None = Field(default=None, ge=1, le=20, description="Other guidance of the sound.")
    stg: float | None = Field(default=None, ge=0, le=10, description="Another `stg`; 0 needs no `stg_blocks`.")
    stg_blocks: tuple[int, ...] | None = Field(default=None, description="Other blocks.")
    modality: float | None = Field(default=None, ge=0, le=20, description="Other guidance towards agreement.")
    rescale: float | None = Field(default=None, ge=0, le=1, description="Another `rescale`.")

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
