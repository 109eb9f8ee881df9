"""`ltx2-lora run CONFIG`: run the pipeline here, in this terminal."""

from argparse import ArgumentParser, Namespace

from rich.console import Console
from rich.table import Table

from flows.commands.config_arguments import (
    add_config,
    add_selection,
    print_notices,
    read_config,
    read_overrides,
    read_selection,
)
from flows.config import RunConfig, guide_notices
from flows.plan import check_here, downloads, plan
from flows.run import run_here
from flows.server import server_answers
from ltx_core.files.atomic import find_whole
from tasks.tracking import answering


def arguments(parser: ArgumentParser) -> None:
    """Add the command's own arguments."""
    add_config(parser)
    add_selection(parser)


def run(args: Namespace) -> int:
    """Plan, run what is not up to date, and say what came of it."""
    config, selection = read_config(args), read_selection(args)
    console = Console(stderr=True)
    print_notices(console, guide_notices(args.config))
    check_here(config, selection)
    if config.tracking.uri is not None:
        answering(config.tracking, config.place())  # told now, not when footage is read and weights are downloaded
    planned = list(plan(config, selection, downloads(config, selection)))
    print_notices(console, (notice for stage in planned for notice in stage.notices))
    if not any(stage.will_run for stage in planned):
        for stage in planned:
            config.place().set_latest(stage.stage.name, str(stage.key))
        names = ", ".join(stage.name for stage in selection.wanted(config).stages)
        console.print(f"nothing to do: {names} are up to date in {config.workspace}", highlight=False)
        return 0
    if server_answers():
        results, report = _run_flow(args), newest_report(config)
    else:
        console.print("[dim]no Prefect server answers (`ltx2-lora up` starts one); this run is seen here only[/dim]")
        ran = run_here(config, selection)
        results = {result.summary.stage: result.state_name for result in ran.results}
        report = str(ran.report)
    table = Table("stage", "result", title="done", title_justify="left")
    for name, state in results.items():
        table.add_row(name, state)
    console.print(table)
    console.print(f"report: {report}", highlight=False, soft_wrap=True)
    return 0


def _run_flow(args: Namespace) -> dict[str, str]:
    """Run the flow in this process, so that the server's UI shows it; stage to the name of its state."""
    from flows.ltx2_lora import ltx2_lora
    from flows.outcome import quiet_console, run_flow
    from flows.parameters import kept_secret

    quiet_console()
    results: dict[str, str] = run_flow(
        ltx2_lora,
        config=str(args.config.resolve()),
        overrides=kept_secret(read_overrides(args)),
        only=args.only,
        from_stage=args.from_stage,
        force=args.force,
    )
    return results


def newest_report(config: RunConfig) -> str:
    """The report of the run that just ended."""
    pages = sorted(find_whole(config.place().runs, "*/report.html"), key=lambda page: page.stat().st_mtime)
    return str(pages[-1]) if pages else "none"
