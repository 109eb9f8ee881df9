"""`ltx2-lora announce CONFIG`: say that footage was added, which starts the `retrain` deployment."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich.console import Console

from flows.config import load_config
from flows.deployments import FOOTAGE_EVENT
from flows.server import require_server


def arguments(parser: ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="configuration whose footage grew")


def run(args: Namespace) -> int:
    """Tell Prefect, which starts the deployment."""
    config = load_config(args.config, {})
    require_server()
    from prefect.events import emit_event

    for dataset in config.datasets:
        emit_event(
            FOOTAGE_EVENT,
            resource={"prefect.resource.id": f"ltx2.footage.{dataset.id}"},
            payload={"config": str(args.config.resolve())},
        )
        Console().print(f"announced: footage of {dataset.id} was added; deployment `retrain` looks what changed")
    return 0
