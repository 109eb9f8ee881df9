"""The base of every section of the configuration. pydantic only."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class ConfigModel(BaseModel):
    """Base of every configuration section: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    LOCATIONS: ClassVar[tuple[str, ...]] = ()
    """Options that are a path or a repository on the hub."""
