"""Published adapters that validation renders are made with: files, their strengths, and runs of several."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from ltx_core.lora.locate import HubAdapter, hub_adapter
from tasks.sampling_config import SamplingOverrides
from tasks.shared import ConfigModel


class AdapterConfig(ConfigModel):
    """One adapter. Text alone stands for `hub` if it is `owner/name:weights.safetensors`, else for `path`."""

    path: Path | None = Field(default=None, description="A LoRA file, or a folder with one `.safetensors` file.")
    hub: str | None = Field(
        default=None, description="On the Hugging Face hub, `owner/name:weights.safetensors`; instead of `path`."
    )
    revision: str | None = Field(default=None, description="With `hub`: branch, tag or commit; default main.")
    strength: float = Field(default=1.0, allow_inf_nan=False, description="How much of it is added; not 0.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return {"hub": value} if ":" in value and hub_adapter(value) else {"path": value}

    @model_validator(mode="after")
    def _one_place(self) -> "AdapterConfig":
        if (self.path is None) == (self.hub is None):
            raise ValueError("an adapter has a path or a hub, one of them")
        if self.hub is not None and hub_adapter(self.hub) is None:
            raise ValueError(f"hub is {self.hub!r}; `owner/name:weights.safetensors` is wanted")
        if self.revision is not None and self.hub is None:
            raise ValueError("revision goes with hub; a local file has none")
        if self.strength == 0:
            raise ValueError("strength 0 adds nothing; leave the adapter out")
        return self

    def place(self, *, here_only: bool = False) -> Path | HubAdapter:
        """Where the file is to be found; `here_only`: among what was downloaded before."""
        if self.path is not None:
            return self.path
        found = hub_adapter(str(self.hub), self.revision)
        assert found is not None  # _one_place has seen to it
        return replace(found, here_only=here_only)


class AdapterRunConfig(SamplingOverrides):
    """Renders of every prompt with these adapters. Text alone stands for a run of that one adapter."""

    name: str = Field(
        max_length=100, pattern=r"^[\w.-]+$", description="Shown beside its renders; letters, digits and `_.-`."
    )
    adapters: tuple[AdapterConfig, ...] = Field(min_length=1, description="All of them at once.")
    base: bool = Field(default=True, description="Render the base model with them.")
    lora: bool = Field(default=True, description="Render the base model with them and the trained LoRA.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": Path(value.rpartition(":")[2]).stem, "adapters": [value]}
        return value

    @field_validator("adapters", mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, dict)) else value

    @model_validator(mode="after")
    def _renders_something(self) -> "AdapterRunConfig":
        if not (self.base or self.lora):
            raise ValueError(f"run {self.name!r} has base and lora off and would render nothing")
        return self
