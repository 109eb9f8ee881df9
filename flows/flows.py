"""The flows that are deployed: the whole pipeline, each stage alone, and the weekly retraining.

A flow is made when it is asked for: Prefect works out the form of the whole configuration for each, and loads this
module anew for each deployment.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from prefect import Flow, flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed
from pydantic import SecretStr, WrapValidator

from flows.config import DEFAULT_CONFIG, RunConfig, config_warnings, load_config
from flows.generated import flow_attribute
from flows.plan import Selection, downloads, plan, select
from flows.prefect_run import explained, run_in_flow
from ltx_core.errors import ConfigError
from tasks import STAGES
from tasks.runtime.stage import Stage
from tasks.tracking.address import WHOLE, without_secrets

StageName = StrEnum("StageName", {stage.name: stage.name for stage in STAGES})  # type: ignore[misc]  # made from STAGES

CONFIG_VARIABLE = "LTX2_CONFIG"


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


def _refuse_secrets(parameters: Mapping[str, Any]) -> None:
    """The parameters that a server gives a flow are kept by the server.

    Raises:
        ConfigError: there is an account among it.
    """
    if _has_secret(parameters.get("tracking")) or _has_secret(parameters.get("tracking.uri")):
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
    path = _path(config)
    if config is None and not path.exists():
        raise ConfigError(
            f"no configuration was given and there is no {path} in {Path.cwd()}; start `ltx2-lora up --config FILE`, "
            f"or give the parameter: -p config=FILE"
        )
    return load_config(path, overrides)


def _path(config: str | None) -> Path:
    return Path(config or os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))


def _resolved(config: str | RunConfig | Mapping[str, Any] | None, overrides: dict[str, Any] | None) -> RunConfig:
    """The same, with warnings in the log of the flow run."""
    found = resolve(config, overrides or {})
    source = config if isinstance(config, RunConfig | Mapping) else _path(config)
    for warning in config_warnings(source, overrides or {}):
        get_run_logger().warning("%s", warning)
    return found


@flow(name="ltx2-lora", log_prints=False)
def ltx2_lora(
    config: Config = None,
    overrides: dict[str, Any] | None = None,
    only: StageName | None = None,
    from_stage: StageName | None = None,
    force: bool = False,
) -> dict[str, str] | State[Any]:
    """Turn footage into a trained, rendered and registered LoRA. Stages whose inputs did not change are reused.

    Args:
        config: Path of a configuration file, or the configuration itself. Default: the project's `ltx2-lora.yaml`.
        overrides: Dotted options that replace those of the configuration, such as {"train_lora.steps": 500}.
        only: Cover this stage alone, on what earlier stages last made.
        from_stage: Cover this stage and all later ones.
        force: Make the covered stages anew, whatever is there.
    """

    def work() -> dict[str, str]:
        results = run_in_flow(_resolved(config, overrides), select(only, from_stage, force))
        return {result.summary.stage: result.state_name for result in results}

    return explained(work)


def _stage_flow(stage: Stage[Any, Any]) -> Flow[Any, Any]:
    def run(config: Config = None, overrides: dict[str, Any] | None = None, force: bool = False) -> Any:
        """Run one stage on what the earlier stages last made.

        Args:
            config: Path of a configuration file, or the configuration itself. Default: the project's `ltx2-lora.yaml`.
            overrides: Dotted options that replace those of the configuration.
            force: Make the stage anew, whatever is there.
        """

        def work() -> str:
            (result,) = run_in_flow(_resolved(config, overrides), select(stage.name, None, force))
            return result.state_name

        return explained(work)

    run.__name__ = run.__qualname__ = flow_attribute(stage)
    return flow(name=f"stage-{stage.name}", description=stage.summary, log_prints=False)(run)


@cache
def __getattr__(name: str) -> Flow[Any, Any]:
    """The flow of that name, such as `stage_split`."""
    for stage in STAGES:
        if flow_attribute(stage) == name:
            return _stage_flow(stage)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@flow(name="retrain", log_prints=False)
def retrain(config: Config = None, overrides: dict[str, Any] | None = None) -> State[Any]:
    """Do nothing if no byte of footage, caption, weight or setting changed since the last good run; else run what did.

    Args:
        config: Path of a configuration file, or the configuration itself. Default: the project's `ltx2-lora.yaml`.
        overrides: Dotted options that replace those of the configuration.
    """

    def work() -> State[Any]:
        return _run_what_is_due(_resolved(config, overrides), select(None, None, force=False))

    return explained(work)


def _run_what_is_due(run_config: RunConfig, everything: Selection) -> State[Any]:
    pending = downloads(run_config, everything)
    due = [stage for stage in plan(run_config, everything, pending) if stage.will_run]
    if not due:
        return Completed(name="Unchanged", message="nothing changed since the last good run; nothing was done")
    get_run_logger().info("%s is due: %s", due[0].stage.name, due[0].why)
    results = run_in_flow(run_config, everything)
    built = [result.summary.stage for result in results if result.built]
    return Completed(name="Retrained", message=f"built {', '.join(built)}")
