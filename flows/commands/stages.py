"""`ltx2-lora stages`: what the pipeline does, in order."""

from argparse import Namespace

from rich.console import Console
from rich.table import Table

from tasks import STAGES


def run(_args: Namespace) -> int:
    """Print the table of stages."""
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
