"""Options of what is trained: the adapter, its rank and the layers that it changes. pydantic only."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ltx_core.adapters.lora_layout import OnlyStream
from ltx_core.adapters.lycoris_settings import LycorisSettings
from ltx_core.training.learning_rate import Schedule

Preset = Literal["video", "audio", "audio+video", "ff", "audio_ff", "all-linear"]
Suffix = Annotated[str, Field(min_length=1, pattern=r"^[a-z0-9_.]+$")]
Ranges = Annotated[str, Field(pattern=r"^\d{1,3}(-\d{1,3})?(, ?\d{1,3}(-\d{1,3})?)*$")]
DEFAULT_RANK = 32
Rank = Annotated[int, Field(ge=1, le=1024)]
OF_AUDIO_LAYERS = {
    "audio_learning_rate": "audio",
    "audio_rank": "audio",
    "cross_learning_rate": "cross",
    "cross_rank": "cross",
}
"""Settings of layers that a run of the video alone does not train, and the streams of those."""


class AdapterSettings(Schedule):
    """The adapter, and the layers that it changes."""

    rank: Rank = Field(default=DEFAULT_RANK, description="Rank of the LoRA.")
    alpha: float | None = Field(
        default=None,
        gt=0,
        description="Scale of the LoRA, multiplied by the rank. Default: the rank. It is folded into the exported "
        "weights.",
    )
    audio_rank: Rank | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # so that keys of runs without it stay what they were
        description="Rank of the LoRA in the audio's layers, scaled as the others are. Default: `rank`.",
    )
    cross_rank: Rank | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Rank of the LoRA in the attention between video and audio. Default: `rank`.",
    )
    modalities: Literal["audio+video", "video", "audio"] = Field(
        default="audio+video",
        description="Modalities that are computed and have a loss. If no clip has audio, the run uses `video`; if none "
        "has video, `audio`.",
    )
    targets: Preset | tuple[Preset | Suffix, ...] | None = Field(
        default=None,
        description="Layers that are trained: a preset, or a list of presets and of suffixes of layer names such as "
        "`attn1.to_q`. `video`, `audio` and `audio+video` are attention projections, `ff` and `audio_ff` "
        "feed-forward layers, `all-linear` all of these. Default: the preset named like `modalities`.",
    )
    target_blocks: Ranges | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # so that keys of runs without it stay what they were
        description="Blocks whose layers are trained, counted from 0, such as `0-11, 40`. Default: all of them.",
    )
    lycoris: LycorisSettings | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # so that keys of runs without it stay what they were
        description="Train a LyCORIS adapter (LoKr, LoHa or LoCon, each with or without DoRA) instead of a plain "
        "LoRA. The options are those of the library's own configuration; `linear_dim` and `linear_alpha` "
        "replace `rank` and `alpha`.",
    )

    @model_validator(mode="after")
    def _lycoris_agrees(self) -> Self:
        if self.lycoris is None:
            return self
        if self.rank != DEFAULT_RANK or self.alpha is not None:
            raise ValueError("rank and alpha are those of the plain LoRA; set lycoris.linear_dim and linear_alpha")
        if self.audio_rank is not None or self.cross_rank is not None:
            raise ValueError(
                "audio_rank and cross_rank are those of the plain LoRA; a LyCORIS adapter has one linear_dim, or one "
                "for each class of module (lycoris.apply_preset.module_algo_map)"
            )
        if self.lycoris.apply_preset is not None and self.targets is not None:
            raise ValueError("targets and lycoris.apply_preset both say which layers are changed; give one of them")
        if self.lycoris.apply_preset is not None and self.target_blocks is not None:
            raise ValueError(
                "target_blocks does not reach the layers of lycoris.apply_preset; give targets instead of it"
            )
        return self

    @model_validator(mode="after")
    def _targets_work(self) -> Self:
        if self.targets == ():
            raise ValueError("targets is an empty list; name a layer, or leave it out for a preset")
        if wrong := [ends for ends in self._block_ranges() if ends[0] > ends[-1]]:
            first, last = wrong[0]
            raise ValueError(
                f"target_blocks has the range {first}-{last}, which holds no block; write it as {last}-{first}"
            )
        idle = {"video": ("audio", "audio+video", "audio_ff"), "audio": ("video", "audio+video", "ff")}
        if self.targets in idle.get(self.modalities, ()):
            raise ValueError(
                f"targets is {self.targets!r} but modalities {self.modalities!r}: those weights would not work and "
                f"never train; set targets to {self.modalities!r} or modalities to 'audio+video'"
            )
        return self

    @property
    def only_blocks(self) -> frozenset[int] | None:
        """The blocks that `target_blocks` names; None without it."""
        if self.target_blocks is None:
            return None
        return frozenset(block for ends in self._block_ranges() for block in range(ends[0], ends[-1] + 1))

    def _block_ranges(self) -> list[list[int]]:
        parts = self.target_blocks.split(",") if self.target_blocks else ()
        return [[int(end) for end in part.split("-")] for part in parts]

    @model_validator(mode="after")
    def _streams_agree(self) -> Self:
        untrained = {"video": ("audio", "cross"), "audio": ("cross",)}.get(self.modalities, ())
        for name, stream in OF_AUDIO_LAYERS.items():
            if getattr(self, name) is not None and stream in untrained:
                raise ValueError(f"{name} is set but modalities {self.modalities!r} trains no such layer; leave it out")
        return self

    @property
    def only_stream(self) -> OnlyStream | None:
        """The stream that is trained alone; None where both are."""
        return None if self.modalities == "audio+video" else self.modalities

    def rank_of(self, stream: str) -> int:
        """Rank of the LoRA in the layers of a stream: `video`, `audio` or `cross`."""
        own = {"audio": self.audio_rank, "cross": self.cross_rank}.get(stream)
        return self.rank if own is None else own

    @property
    def lora_alpha(self) -> float:
        return float(self.rank if self.alpha is None else self.alpha)

    @property
    def lora_targets(self) -> str | tuple[str, ...]:
        return self.modalities if self.targets is None else self.targets
