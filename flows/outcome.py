"""Call a flow in this process and raise what it failed of, as itself."""

from contextlib import nullcontext
from typing import Any

from prefect import Flow
from prefect.exceptions import PrefectException

from flows.server import server_answers
from flows.temporary_server import temporary_server
from ltx_core.errors import ConfigError


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
