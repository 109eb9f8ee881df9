"""`ltx2-lora plan CONFIG`: each stage's key, whether it would run, and why, before anything is spent."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from flows.commands.config_arguments import add_config, add_selection, print_notices, read_config, read_selection
from flows.config import guide_notices
from flows.plan import PlannedStage, downloads, plan

if TYPE_CHECKING:
    from ltx_core.checkpoint.pending import PendingFile

MANY_BYTES = 2**28
"""From here on sizes are told in GiB."""


def arguments(parser: ArgumentParser) -> None:
    """Add the command's own arguments."""
    add_config(parser)
    add_selection(parser)


def run(args: Namespace) -> int:
    """Say what is missing, what would run, and what that takes."""
    config, selection, console = read_config(args), read_selection(args), Console()
    pending = downloads(config, selection)
    if pending:
        console.print(download_table(pending))
    planned = list(plan(config, selection, pending))
    console.print(plan_table(planned))
    for stage in planned:
        for line in stage.memory:
            console.print(f"{stage.stage.name}: {line}", highlight=False, markup=False)
    print_notices(console, guide_notices(args.config))
    print_notices(console, (notice for stage in planned for notice in stage.notices))
    return 0


def download_table(pending: "Sequence[PendingFile]") -> Table:
    """What a run would fetch from the hub first."""
    sizes = [file.size for file in pending]
    known = sum(size for size in sizes if size is not None)
    total = f"{_gib(known)}{' and what the hub does not tell' if None in sizes else ''}"
    table = Table("repository", "file", "size", title=f"to download: {total}", title_justify="left")
    for file in pending:
        table.add_row(file.repository, file.name, "unknown" if file.size is None else _gib(file.size))
    return table


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= MANY_BYTES else f"{size / 2**20:.1f} MiB"


def plan_table(planned: Sequence[PlannedStage]) -> Table:
    """The plan as people read it."""
    table = Table("stage", "key", "would", "because", title="plan", title_justify="left")
    for stage in planned:
        table.add_row(stage.stage.name, stage.key or "-", "run" if stage.will_run else "be reused", stage.why)
    return table
