"""Call a flow in this process and raise what it failed of, as itself."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect import Flow
from prefect.exceptions import PrefectException
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from flows.server import server_answers
from ltx_core.errors import ConfigError

STARTUP_SECONDS = 180
"""The first start makes and migrates a database, which takes long on a busy machine."""


def temporary_server() -> AbstractContextManager[Any]:
    """Settings under which Prefect starts a server for the time being, whatever address a prefect.toml names."""
    return temporary_settings(
        {PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: STARTUP_SECONDS},
        restore_defaults={PREFECT_API_URL},
    )


def run_flow(flow: Flow[Any, Any], **parameters: Any) -> Any:
    """The flow's result.

    Raises:
        LtxError: what a stage found wrong.
        ConfigError: Prefect refused the parameters.
    """
    try:
        with nullcontext() if server_answers() else temporary_server():
            return flow(**parameters)
    except PrefectException as error:
        raise ConfigError(f"Prefect refused to run {flow.name}: {error}") from error
