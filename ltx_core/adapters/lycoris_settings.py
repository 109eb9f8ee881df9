"""Options of a LyCORIS adapter, under the names of the library's own configuration. No torch.

Papers: LyCORIS, "Navigating Text-To-Image Customization" (Yeh et al., ICLR 2024) for LoHa and LoKr; DoRA (Liu et al.,
2024).
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from datasets_spec.options import ConfigModel

Algorithm = Literal["lora", "loha", "lokr"]
SYNONYMS = {"locon": "lora"}
"""LoCon is LoRA on convolutions too, and these models have none."""
ALGORITHMS = ("lora", "loha", "lokr")
REFUSED = {
    "full": "trains whole weights, which is no adapter",
    "dylora": "draws a rank at every forward from a generator that no checkpoint could hold",
    "tlora": "masks ranks by image timesteps, of which video with its own noise level for audio has two",
    "glora": "is not built here",
    "diag-oft": "is not built here",
    "boft": "is not built here",
    "ia3": "is not built here",
}
ClassName = Annotated[str, Field(pattern=r"^(Attention|LTX2Attention|FeedForward|LTX2VideoTransformerBlock)$")]
Rank = Annotated[int, Field(ge=1)]
FACTORED = ("factor", "full_matrix", "decompose_both")
"""Options that LoKr alone has."""


def _known(name: Any) -> Any:
    """An algorithm under the name it has here."""
    known = SYNONYMS.get(name, name) if isinstance(name, str) else name
    if known in REFUSED:
        raise ValueError(f"algo {name!r} {REFUSED[known]}; there are {', '.join(ALGORITHMS)}, each with dora_wd")
    return known


class ClassOptions(ConfigModel):
    """Options for the layers inside one class of module."""

    algo: Algorithm | None = Field(default=None, description="`lora` (also called `locon`), `loha` or `lokr`.")
    dim: Rank | None = Field(default=None, description="Replaces `linear_dim`.")
    alpha: float | None = Field(default=None, gt=0, description="Replaces `linear_alpha`.")
    factor: int | None = Field(default=None, ge=-1, description="Replaces the general `factor`.")

    _algo = field_validator("algo", mode="before")(_known)


class Preset(ConfigModel):
    """The layers that are changed."""

    target_module: tuple[ClassName, ...] = Field(
        default=("Attention",),
        min_length=1,
        description="Classes of modules whose linear layers are trained: `Attention`, `FeedForward`, or whole blocks "
        "(`LTX2VideoTransformerBlock`).",
    )
    module_algo_map: dict[ClassName, ClassOptions] = Field(
        default={}, description="Options that differ for one of these classes: `algo`, `dim`, `alpha`, `factor`."
    )


class LycorisSettings(ConfigModel):
    """A LyCORIS adapter in place of the plain LoRA."""

    algo: Algorithm = Field(default="lora", description="`lora` (also called `locon`), `loha` or `lokr`.")
    multiplier: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="Factor for the adapter's change. It is folded into the exported weights.",
    )
    linear_dim: Rank = Field(
        default=4,
        description="Rank. LoKr keeps a factor whole if it is narrower than twice the rank; 10000 keeps both whole.",
    )
    linear_alpha: float | None = Field(default=1.0, gt=0, description="Scale, multiplied by the rank. null: the rank.")
    factor: int = Field(
        default=-1,
        ge=-1,
        description="LoKr: number that each side of a weight is divided by. -1: the divisor closest to its square "
        "root.",
    )
    full_matrix: bool = Field(default=False, description="LoKr: keep both factors whole, whatever the rank.")
    decompose_both: bool = Field(default=False, description="LoKr: decompose the smaller factor to the rank as well.")
    dora_wd: bool = Field(
        default=False, description="DoRA: train the magnitude of every row of the weight separately from its direction."
    )
    apply_preset: Preset | None = Field(
        default=None, description="Layers that are trained, by class. Without it, `targets` selects the layers."
    )

    _algo = field_validator("algo", mode="before")(_known)

    @model_validator(mode="after")
    def _options_work(self) -> Self:
        per_class = {} if self.apply_preset is None else self.apply_preset.module_algo_map
        used = {self.algo, *(options.algo for options in per_class.values())}
        given = [name for name in FACTORED if getattr(self, name) != type(self).model_fields[name].default]
        if given and "lokr" not in used:
            raise ValueError(f"{given[0]} is for algo lokr and algo is {self.algo!r}; leave it out")
        for name, options in per_class.items():
            if options.factor is not None and (options.algo or self.algo) != "lokr":
                raise ValueError(f"module_algo_map gives {name} a factor, which is for algo lokr; leave it out")
        if 0 in (self.factor, *(options.factor for options in per_class.values())):
            raise ValueError("factor is 0; -1, or what to cut a side of the weight by, is wanted")
        if self.dora_wd and self.multiplier != 1:
            raise ValueError(f"multiplier is {self.multiplier} with dora_wd, whose change is not linear in it; use 1")
        return self

    @model_validator(mode="after")
    def _classes_are_targets(self) -> Self:
        if self.apply_preset is None:
            return self
        asked = self.apply_preset
        whole = "LTX2VideoTransformerBlock" in asked.target_module
        if idle := [name for name in asked.module_algo_map if name not in asked.target_module and not whole]:
            raise ValueError(f"module_algo_map names {idle}, which target_module lacks; name them there, or leave out")
        return self
