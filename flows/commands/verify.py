"""`ltx2-lora verify CONFIG`: read everything in the workspace and name what is not as it should be."""

from argparse import ArgumentParser, Namespace

from rich.console import Console

from flows.commands.command import Command
from flows.commands.config_arguments import add_config, read_config
from ltx_core.progress import SILENT
from tasks.verify import repair, verify


def _arguments(parser: ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--repair", action="store_true", help="remove what is damaged, so that the next run makes it again"
    )


def _run(args: Namespace) -> int:
    console, place = Console(highlight=False, markup=False, soft_wrap=True), read_config(args).place()
    left = 0
    for damage in verify(place, SILENT):
        removed = args.repair and repair(place, damage, SILENT)
        console.print(f"{'removed: ' if removed else ''}{damage.problem}")
        left += not removed
    if left:
        advice = "" if args.repair else "; --repair removes what a run can make again"
        console.print(f"{left} damaged{advice}")
        return 1
    console.print(f"{place.root} is as it was written" if not args.repair else "nothing damaged is left; run again")
    return 0


COMMAND = Command(name="verify", summary="check a workspace: digests, tensors, videos", arguments=_arguments, run=_run)
"""Exit code 1 if something is damaged and stays."""
