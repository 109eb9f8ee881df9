"""`ltx2-lora up`: Prefect server, worker and MLflow UI together, until ctrl-C or `ltx2-lora down`."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from flows.parameters import DEFAULT_CONFIG


def arguments(parser: ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(DEFAULT_CONFIG),
        help=f"configuration that runs use (default {DEFAULT_CONFIG})",
    )
    parser.add_argument("--mlflow-port", type=int, default=5000, help="port of the MLflow UI (default 5000)")


def run(args: Namespace) -> int:
    """Keep the services running."""
    from flows.supervise import supervise

    supervise(args.config, args.mlflow_port)
    return 0
