"""Call a flow in this process and raise what it failed of, as itself."""

import logging
from typing import Any

import httpx
from prefect import Flow
from prefect.exceptions import PrefectException

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
    """Bars and lines of ours tell how it goes, and what it ended of; Prefect's go to its server alone."""
    for name in ("prefect", "prefect._internal"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False  # with none, Python prints warnings itself
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # Prefect's handler, whose server is gone, would print that at each line
