"""`ltx2-lora stages`: what the pipeline does, in order."""

from argparse import Namespace

from rich.console import Console
from rich.table import Table

from flows.commands.command import Command, no_arguments
from tasks import STAGES


def _run(_args: Namespace) -> int:
    table = Table("stage", "does", "needs", "device")
    for stage in STAGES:
        table.add_row(
            stage.name,
            stage.summary.strip(),
            ", ".join((*stage.needs, *(f"{name} if on" for name in stage.uses))) or "-",
            stage.device,
        )
    Console().print(table)
    return 0


COMMAND = Command(name="stages", summary="list the stages", arguments=no_arguments, run=_run)
