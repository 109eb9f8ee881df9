"""`ltx2-lora verify CONFIG`: read everything in the workspace and name what is not as it should be."""

from argparse import ArgumentParser, Namespace

from rich.console import Console
from rich.status import Status

from flows.commands.config_arguments import add_config, read_config
from ltx_core.progress import Silent
from tasks.verify import repair, verify


def arguments(parser: ArgumentParser) -> None:
    """Add the command's own arguments."""
    add_config(parser)
    parser.add_argument(
        "--repair", action="store_true", help="remove what is damaged, so that the next run makes it again"
    )


def run(args: Namespace) -> int:
    """Name what is damaged; gives 1 if something is and stays so."""
    console, place = Console(highlight=False, markup=False, soft_wrap=True), read_config(args).place()
    left = 0
    with Console(stderr=True).status("reading results") as status:
        progress = _Shown(status)
        found = verify(place, progress)
        for damage in list(found) if args.repair else found:  # nothing is removed while others are looked at
            removed = args.repair and repair(place, damage, progress)
            console.print(f"{'removed: ' if removed else ''}{damage.problem}")
            left += not removed
    if left:
        advice = "" if args.repair else "; --repair removes what a run can make again"
        console.print(f"{left} damaged{advice}")
        return 1
    console.print(f"{place.root} is as it was written" if not args.repair else "nothing damaged is left; run again")
    return 0


class _Shown(Silent):
    """Progress as a line in the terminal that is gone at the end."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def advance(self, done: int, total: int, unit: str) -> None:
        self._status.update(f"read {done} of {total} {unit}")

    def note(self, message: str) -> None:
        self._status.console.print(message, highlight=False, markup=False)
