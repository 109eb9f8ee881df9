"""`ltx2-lora announce CONFIG`: say that footage was added, which starts the `retrain` deployment."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich.console import Console

from flows.commands.command import Command
from flows.config import load_config
from flows.deployments import FOOTAGE_EVENT
from flows.server import require_server


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="configuration whose footage grew")


def _run(args: Namespace) -> int:
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


COMMAND = Command(name="announce", summary="say that footage was added", arguments=_arguments, run=_run)
