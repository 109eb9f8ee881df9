"""A Prefect server for one run in a terminal, when no other answers."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.logging.handlers import APILogWorker, PrefectConsoleHandler
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import answers
from flows.services import start, wait_until
from tasks.binding import GPU_LIMIT
from tasks.gpus import count_gpus

QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_UI_ENABLED": "false"}
DRAIN_SECONDS = 5.0


@contextmanager
def temporary_server() -> Iterator[None]:
    """Start one, and let this process use it while the block runs.

    Not Prefect's own temporary server: ctrl-C reaches every process of a terminal, so that one would be gone before
    the run can tell it how it ended. `start` gives ours a session of its own.

    Raises:
        TransientError: it did not answer in time; names its log.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    server = start("temporary-server", ["prefect", "server", "start", "--port", str(port)], QUIET)
    try:
        wait_until(lambda: answers(f"{url}/health"), server, 180)
        with temporary_settings({PREFECT_API_URL: url}):
            with get_client(sync_client=True) as client:
                client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, limit=max(count_gpus(), 1))
            try:
                yield
            finally:
                APILogWorker.drain_all(timeout=DRAIN_SECONDS)  # or it would look for the server that is gone
    finally:
        server.end()


def quiet_console() -> None:
    """Bars tell how it goes; Prefect's lines go to its server alone."""
    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.setLevel(logging.CRITICAL)
    logging.getLogger("mlflow").setLevel(logging.WARNING)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
