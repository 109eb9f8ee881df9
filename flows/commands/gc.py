"""`ltx2-lora gc CONFIG`: delete what no kept run refers to; without --yes it only says what that is."""

from argparse import ArgumentParser, Namespace

from rich.console import Console

from flows.commands.config_arguments import add_config, read_config
from tasks.collect import delete_garbage, find_garbage


def arguments(parser: ArgumentParser) -> None:
    """Add the command's own arguments."""
    add_config(parser)
    parser.add_argument("--keep-runs", type=int, default=10, metavar="N", help="newest runs to keep (default 10)")
    parser.add_argument(
        "--older-than",
        type=float,
        default=24.0,
        metavar="HOURS",
        help="keep what was written or used within this time (default 24)",
    )
    parser.add_argument("--yes", action="store_true", help="delete; without it nothing is touched")


def run(args: Namespace) -> int:
    """List or delete what nothing refers to."""
    console, place = Console(highlight=False, soft_wrap=True), read_config(args).place()
    look, found = (delete_garbage if args.yes else find_garbage), []
    for item in look(place, max(args.keep_runs, 0), max(args.older_than, 0.0) * 3600):
        console.print(f"{item.size / 2**20:9.1f} MiB  {item.path.relative_to(place.root)}")
        found.append(item)
    verb = "deleted" if args.yes else "could be deleted with --yes"
    console.print(f"{sum(item.size for item in found) / 2**20:9.1f} MiB in {len(found)} places {verb}")
    return 0
