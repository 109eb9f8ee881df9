"""Parameters that every flow takes, and how they become a configuration."""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import SecretStr, WrapValidator

from flows.config import RunConfig, load_config
from ltx_core.errors import ConfigError
from tasks import STAGES
from tasks.address import WHOLE, without_secrets

StageName = StrEnum("StageName", {stage.name: stage.name for stage in STAGES})  # type: ignore[misc]  # made from STAGES

CONFIG_VARIABLE = "LTX2_CONFIG"
DEFAULT_CONFIG = "ltx2-lora.yaml"


def _as_given(value: Any, _check: Any) -> Any:
    return value


Config = Annotated[str | RunConfig | None, WrapValidator(_as_given)]
"""The form that Prefect shows is of the type; what was filled in is checked by `resolve`, which says what is wrong and
what is near. Prefect's own check says only that the value fits none of the types."""


def kept_secret(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides as a flow's parameters, which Prefect's server keeps: of addresses with an account, not even those."""
    return {name: _hidden(value) for name, value in overrides.items()}


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return kept_secret(value)
    return SecretStr(value) if _has_secret(value) else value


def _has_secret(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_secret, value.values()))
    return isinstance(value, str) and without_secrets(value) != value


def _refuse_secrets(given: Mapping[str, Any]) -> None:
    """What a flow is given by a server, the server has kept.

    Raises:
        ConfigError: there is an account among it.
    """
    if _has_secret(given.get("tracking")) or _has_secret(given.get("tracking.uri")):
        raise ConfigError(
            "tracking.uri has an account, and Prefect keeps a run's parameters for all to read: set it in the "
            "configuration file, or leave the account to MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )


def resolve(config: str | RunConfig | Mapping[str, Any] | None, overrides: dict[str, Any]) -> RunConfig:
    """The configuration of a run: given, or the file that `ltx2-lora up --config` named, or the project's own.

    Raises:
        ConfigError: there is none, or it cannot work.
    """
    _refuse_secrets(overrides)
    if isinstance(config, RunConfig | Mapping):
        _refuse_secrets(config if isinstance(config, Mapping) else config.model_dump(mode="json", context=dict(WHOLE)))
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
