"""Parameters that every flow takes, and how they become a configuration."""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import WrapValidator

from flows.config import RunConfig, load_config
from ltx_core.errors import ConfigError
from tasks import STAGES

StageName = StrEnum("StageName", {stage.name: stage.name for stage in STAGES})  # type: ignore[misc]  # made from STAGES

CONFIG_VARIABLE = "LTX2_CONFIG"
DEFAULT_CONFIG = "ltx2-lora.yaml"


def _as_given(value: Any, _check: Any) -> Any:
    return value


Config = Annotated[str | RunConfig | None, WrapValidator(_as_given)]
"""The form that Prefect shows is of the type; what was filled in is checked by `resolve`, which says what is wrong and
what is near. Prefect's own check says only that the value fits none of the types."""


def resolve(config: str | RunConfig | Mapping[str, Any] | None, overrides: dict[str, Any]) -> RunConfig:
    """The configuration of a run: given, or the file that `ltx2-lora up --config` named, or the project's own.

    Raises:
        ConfigError: there is none, or it cannot work.
    """
    if isinstance(config, RunConfig | Mapping):
        return load_config(config, overrides)
    if not isinstance(config, str | None):
        raise ConfigError(f"the parameter config is {config!r}; give the path of a file, or the configuration itself")
    path = Path(config or os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
    if config is None and not path.exists():
        raise ConfigError(
            f"no configuration was given and there is no {path} in {Path.cwd()}; start `ltx2-lora up --config FILE`, "
            f"or give the parameter: -p config=FILE"
        )
    return load_config(path, overrides)
