"""`ltx2-lora up`, `down` and `announce`: Prefect's server with a worker and MLflow's UI, and telling it of footage."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.arguments import path_argument, path_option, read_config
from flows.config import DEFAULT_CONFIG
from flows.generated import FOOTAGE_EVENT
from flows.server.services import end_leftovers, forget_up, require_server, up_record
from ltx_core.errors import ConfigError

WAIT_SECONDS = 60.0


def up(
    config: Annotated[Path, path_option("--config", "CONFIG", "Configuration for runs.")] = Path(DEFAULT_CONFIG),
    mlflow_port: Annotated[int, typer.Option("--mlflow-port", metavar="PORT", help="Port of the MLflow UI.")] = 5000,
) -> None:
    """Keep the services running, until ctrl-C or `ltx2-lora down`."""
    from flows.server.supervise import supervise

    supervise(config, mlflow_port)


def down() -> None:
    """End `up` from another terminal, or what an `up` that was killed has left."""
    found, console = up_record(), Console(highlight=False)
    if found is None or not found.process.is_alive():
        left = end_leftovers()
        forget_up()
        console.print(
            f"ended what an `up` that was killed had left: {', '.join(left)}"
            if left
            else "nothing to end: `ltx2-lora up` is not running"
        )
        return
    record = found.process
    os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + WAIT_SECONDS
    while record.is_alive():
        if time.monotonic() > deadline:
            raise ConfigError(
                f"`ltx2-lora up` (process {record.pid}) did not end within {WAIT_SECONDS:g} s; see its logs"
            )
        time.sleep(0.2)
    console.print("ended")


def announce(
    config: Annotated[Path, path_argument("CONFIG", "Configuration with the new footage.")],
) -> None:
    """Tell Prefect that footage was added, which starts the deployment `retrain`."""
    read = read_config(config, None)
    require_server()
    from prefect.events import emit_event

    for dataset in read.datasets:
        emit_event(
            FOOTAGE_EVENT,
            resource={"prefect.resource.id": f"ltx2.footage.{dataset.id}"},
            payload={"config": str(config.resolve())},
        )
        Console().print(f"announced: footage of {dataset.id} was added; deployment `retrain` checks what has changed")
