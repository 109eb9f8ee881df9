"""`ltx2-lora train [CONFIG]`: the guide's last step. Says what is done differently, then runs."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from flows.commands import run
from flows.commands.command import Command
from flows.commands.config_arguments import add_overrides
from ltx_core.errors import ConfigError

PLACES = (Path("ltx2-lora.yaml"), Path("config/config.json"))
"""Where a configuration is looked for if none is named: ours, then the guide's."""


def _arguments(parser: ArgumentParser) -> None:
    places = " or ".join(map(str, PLACES))
    parser.add_argument("config", type=Path, nargs="?", metavar="CONFIG", help=f"configuration (default {places})")
    add_overrides(parser)


def _run(args: Namespace) -> int:
    args.config = args.config or _found()
    args.only, args.from_stage, args.force = None, None, False
    return run.COMMAND.run(args)


def _found() -> Path:
    for place in PLACES:
        if place.is_file():
            return place
    raise ConfigError(
        f"no configuration was named and there is no {' nor '.join(map(str, PLACES))} in {Path.cwd()}; "
        f"`ltx2-lora configure` writes one"
    )


COMMAND = Command(
    name="train", summary="train a LoRA from a configuration, ours or the guide's", arguments=_arguments, run=_run
)
