"""`ltx2-lora run CONFIG`: run the pipeline here, in this terminal."""

from argparse import ArgumentParser, Namespace

from rich.console import Console
from rich.table import Table

from flows.commands.command import Command
from flows.commands.config_arguments import (
    add_config,
    add_selection,
    print_notices,
    read_config,
    read_overrides,
    read_selection,
)
from flows.config import RunConfig, guide_notices
from flows.plan import downloads, plan
from flows.selection import Selection
from flows.server import server_answers
from ltx_core.files.atomic import find_whole


def _arguments(parser: ArgumentParser) -> None:
    add_config(parser)
    add_selection(parser)


def _run(args: Namespace) -> int:
    config, selection = read_config(args), read_selection(args)
    console = Console(stderr=True)
    print_notices(console, guide_notices(args.config))
    planned = list(plan(config, selection, downloads(config, selection)))
    print_notices(console, (notice for stage in planned for notice in stage.notices))
    if not any(stage.will_run for stage in planned):
        for stage in planned:
            config.place().set_latest(stage.stage.name, str(stage.key))
        names = ", ".join(stage.name for stage in selection.wanted(config).stages)
        console.print(f"nothing to do: {names} are up to date in {config.workspace}", highlight=False)
        return 0
    return _run_flow(config, selection, args, console)


def _run_flow(config: RunConfig, selection: Selection, args: Namespace, console: Console) -> int:
    """Run the flow in this process: seen in the UI if a server answers, else with Prefect's own for the time being."""
    if not server_answers():
        console.print("[dim]no Prefect server answers (`ltx2-lora up` starts one); this run is seen here only[/dim]")
    from flows.ltx2_lora import ltx2_lora
    from flows.outcome import run_flow
    from flows.temporary_server import quiet_console

    quiet_console()
    results = run_flow(
        ltx2_lora,
        config=str(args.config.resolve()),
        overrides=read_overrides(args),
        only=args.only,
        from_stage=args.from_stage,
        force=args.force,
    )
    table = Table("stage", "result", title="done", title_justify="left")
    for name, state in results.items():
        table.add_row(name, state)
    console.print(table)
    console.print(f"report: {newest_report(config)}", highlight=False, soft_wrap=True)
    return 0


def newest_report(config: RunConfig) -> str:
    """The report of the run that just ended."""
    pages = sorted(find_whole(config.place().runs, "*/report.html"), key=lambda page: page.stat().st_mtime)
    return str(pages[-1]) if pages else "none"


COMMAND = Command(name="run", summary="run the pipeline in this terminal", arguments=_arguments, run=_run)
