"""`ltx2-lora train [CONFIG]`: the guide's last step. Says what is done differently, then runs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from flows.commands.config_arguments import add_overrides
from flows.commands.run import run as run_pipeline
from ltx_core.errors import ConfigError

PLACES = (Path("ltx2-lora.yaml"), Path("config/config.json"))
"""Where a configuration is looked for if none is named: ours, then the guide's."""


def arguments(parser: ArgumentParser) -> None:
    """Add the command's own arguments."""
    places = " or ".join(map(str, PLACES))
    parser.add_argument("config", type=Path, nargs="?", metavar="CONFIG", help=f"configuration (default {places})")
    add_overrides(parser)


def run(args: Namespace) -> int:
    """Find the configuration, then do as `run` does."""
    args.config = args.config or _found()
    args.only, args.from_stage, args.force = None, None, False
    return run_pipeline(args)


def _found() -> Path:
    for place in PLACES:
        if place.is_file():
            return place
    raise ConfigError(
        f"no configuration was named and there is no {' nor '.join(map(str, PLACES))} in {Path.cwd()}; "
        f"`ltx2-lora configure` writes one"
    )
