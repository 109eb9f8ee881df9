"""`ltx2-lora gc` and `verify`: a workspace's results, deleted where nothing needs them, and read for damage."""

from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status

from flows.cli.arguments import ConfigPath, Overrides, read_config
from ltx_core.progress import Silent
from tasks.runtime import verify as checks
from tasks.runtime.collect import delete_garbage, find_garbage


def gc(
    config: ConfigPath,
    overrides: Overrides = None,
    keep_runs: Annotated[int, typer.Option("--keep-runs", metavar="N", help="Number of newest runs to keep.")] = 10,
    older_than: Annotated[
        float,
        typer.Option("--older-than", metavar="HOURS", help="Keep data that was written or used within this time."),
    ] = 24.0,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the data; without it, it is only listed.")] = False,
) -> None:
    """List or delete what nothing refers to."""
    console, place = Console(highlight=False, soft_wrap=True), read_config(config, overrides).place()
    look, found = (delete_garbage if yes else find_garbage), []
    for item in look(place, max(keep_runs, 0), max(older_than, 0.0) * 3600):
        console.print(f"{item.size / 2**20:9.1f} MiB  {item.path.relative_to(place.root)}")
        found.append(item)
    verb = "deleted" if yes else "could be deleted with --yes"
    console.print(f"{sum(item.size for item in found) / 2**20:9.1f} MiB in {len(found)} places {verb}")


def verify(
    config: ConfigPath,
    overrides: Overrides = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged files, so that the next run makes them again.")
    ] = False,
) -> int:
    """Name what is damaged; gives 1 if something is and stays so."""
    console, place = Console(highlight=False, markup=False, soft_wrap=True), read_config(config, overrides).place()
    left = 0
    with Console(stderr=True).status("reading results") as status:
        progress = _Shown(status)
        found = checks.verify(place, progress)
        for damage in list(found) if repair else found:  # nothing is removed while others are looked at
            removed = repair and checks.repair(place, damage, progress)
            console.print(f"{'removed: ' if removed else ''}{damage.problem}")
            left += not removed
    if left:
        advice = "" if repair else "; --repair removes what a run can make again"
        console.print(f"{left} damaged{advice}")
        return 1
    console.print(f"{place.root} is as it was written" if not repair else "nothing damaged is left; run again")
    return 0


class _Shown(Silent):
    """Progress as a line in the terminal that is gone at the end."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def advance(self, done: int, total: int, unit: str) -> None:
        self._status.update(f"read {done} of {total} {unit}")

    def note(self, message: str) -> None:
        self._status.console.print(message, highlight=False, markup=False)
