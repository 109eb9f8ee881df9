"""Parameters that every flow takes, and how they become a configuration."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Any

from flows.config import RunConfig, load_config
from ltx_core.errors import ConfigError
from tasks import STAGES

StageName = StrEnum("StageName", {stage.name: stage.name for stage in STAGES})  # type: ignore[misc]  # made from STAGES

CONFIG_VARIABLE = "LTX2_CONFIG"
DEFAULT_CONFIG = "ltx2-lora.yaml"

Config = str | RunConfig | None


def resolve(config: Config, overrides: dict[str, Any]) -> RunConfig:
    """The configuration of a run: given, or the file that `ltx2-lora up --config` named, or the project's own.

    Raises:
        ConfigError: there is none, or it cannot work.
    """
    if isinstance(config, RunConfig):
        return load_config(config, overrides)
    path = Path(config or os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
    if config is None and not path.exists():
        raise ConfigError(
            f"no configuration was given and there is no {path} in {Path.cwd()}; start `ltx2-lora up --config FILE`, "
            f"or give the parameter: -p config=FILE"
        )
    return load_config(path, overrides)
