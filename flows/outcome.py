"""Call a flow in this process and raise what it failed of, as itself."""

import logging
import os
from typing import Any

import httpx
from prefect import Flow
from prefect.exceptions import PrefectException
from prefect.logging.handlers import PrefectConsoleHandler

from flows.in_flow import EXPLAINED
from flows.server import api_url
from ltx_core.errors import ConfigError, TransientError


def run_flow(flow: Flow[Any, Any], **parameters: Any) -> Any:
    """The flow's result.

    Raises:
        LtxError: what a stage found wrong.
        ConfigError: Prefect refused the parameters.
        TransientError: its server is gone.
    """
    try:
        EXPLAINED.clear()
        state: Any = flow(**parameters, return_state=True)  # whose overloads take a flow of anything for one of nothing
    except httpx.TransportError as error:
        raise TransientError(
            f"Prefect's server at {api_url()} answers no more ({error}). What was finished is kept; run again, "
            f"and if it is still gone the rest runs without it"
        ) from error
    except PrefectException as error:
        raise ConfigError(f"Prefect refused to run {flow.name}: {error}") from error
    if EXPLAINED:
        raise EXPLAINED.pop()
    return state.result()


def quiet_console() -> None:
    """Bars tell how it goes; Prefect's lines go to its server alone. Said to the handlers that there are, and for those
    that Prefect makes anew when a flow begins."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.setLevel(logging.CRITICAL)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
