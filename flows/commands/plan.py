"""`ltx2-lora plan CONFIG`: each stage's key, whether it would run, and why, before anything is spent."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from flows.commands.command import Command
from flows.commands.config_arguments import add_config, add_selection, read_config, read_selection
from flows.plan import PlannedStage, plan


def _arguments(parser: ArgumentParser) -> None:
    add_config(parser)
    add_selection(parser)


def _run(args: Namespace) -> int:
    Console().print(plan_table(list(plan(read_config(args), read_selection(args)))))
    return 0


def plan_table(planned: Sequence[PlannedStage]) -> Table:
    """The plan as people read it."""
    table = Table("stage", "key", "would", "because", title="plan", title_justify="left")
    for stage in planned:
        table.add_row(stage.stage.name, stage.key or "-", "run" if stage.will_run else "be reused", stage.why)
    return table


COMMAND = Command(name="plan", summary="say what a run would do and why", arguments=_arguments, run=_run)
