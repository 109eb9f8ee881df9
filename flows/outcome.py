"""Call a flow in this process and raise what it failed of, as itself."""

import logging
from typing import Any

from prefect import Flow
from prefect.exceptions import PrefectException
from prefect.logging.handlers import PrefectConsoleHandler

from ltx_core.errors import ConfigError


def run_flow(flow: Flow[Any, Any], **parameters: Any) -> Any:
    """The flow's result.

    Raises:
        LtxError: what a stage found wrong.
        ConfigError: Prefect refused the parameters.
    """
    try:
        return flow(**parameters)
    except PrefectException as error:
        raise ConfigError(f"Prefect refused to run {flow.name}: {error}") from error


def quiet_console() -> None:
    """Bars tell how it goes; Prefect's lines go to its server alone."""
    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.setLevel(logging.CRITICAL)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
