"""`ltx2-lora plan` and `run`: the pipeline before it runs, and running it here; `stages` lists what it has."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from rich.table import Table

from flows.cli.arguments import (
    ConfigPath,
    Force,
    FromStage,
    Only,
    Overrides,
    path_argument,
    print_warnings,
    read_config,
    read_overrides,
)
from flows.config import DEFAULT_CONFIG, RunConfig, config_warnings
from flows.listeners import WeightsLines
from flows.plan import PlannedStage, check_here, downloads, select
from flows.plan import plan as planned_stages
from flows.report.record import PAGE, RECORD
from flows.run import run_here
from flows.server.services import server_answers
from ltx_core.errors import ConfigError
from ltx_core.io.atomic import find_whole
from ltx_core.io.json_file import read_json
from tasks import STAGES
from tasks.tracking.mlflow import answering

if TYPE_CHECKING:
    from ltx_core.hub.repository import PendingFile

PLACES = (Path(DEFAULT_CONFIG), Path("config/config.json"))
"""Where a configuration is looked for if none is named: ours, then the guide's."""
MANY_BYTES = 2**28
"""From here on sizes are shown in GiB."""


def plan(
    config: ConfigPath,
    overrides: Overrides = None,
    only: Only = None,
    from_stage: FromStage = None,
    force: Force = False,
) -> None:
    """Show what is missing, which stages would run, and the memory they need."""
    read, selection, console = read_config(config, overrides), select(only, from_stage, force), Console()
    pending = downloads(read, selection)
    if pending:
        console.print(download_table(pending))
    planned = list(planned_stages(read, selection, pending, WeightsLines(Console(stderr=True))))
    console.print(plan_table(planned))
    for stage in planned:
        for line in stage.memory:
            console.print(f"{stage.stage.name}: {line}", highlight=False, markup=False)
    print_warnings(console, config_warnings(config, read_overrides(overrides)))
    print_warnings(console, (warning for stage in planned for warning in stage.warnings))


def download_table(pending: "Sequence[PendingFile]") -> Table:
    """Return the table of files that a run would download first."""
    sizes = [file.size for file in pending]
    known = sum(size for size in sizes if size is not None)
    total = f"{_gib(known)}{' and files of unknown size' if None in sizes else ''}"
    table = Table("repository", "file", "size", title=f"to download: {total}", title_justify="left")
    for file in pending:
        table.add_row(file.repository, file.name, "unknown" if file.size is None else _gib(file.size))
    return table


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= MANY_BYTES else f"{size / 2**20:.1f} MiB"


def plan_table(planned: Sequence[PlannedStage]) -> Table:
    """Return the plan as a table."""
    table = Table("stage", "key", "action", "reason", title="plan", title_justify="left")
    for stage in planned:
        table.add_row(stage.stage.name, stage.key or "-", "run" if stage.will_run else "reuse", stage.why)
    return table


def run(
    config: Annotated[
        Path | None,
        path_argument("CONFIG", f"Configuration file, YAML or JSON. Default: {' or '.join(map(str, PLACES))}."),
    ] = None,
    overrides: Overrides = None,
    only: Only = None,
    from_stage: FromStage = None,
    force: Force = False,
) -> None:
    """Plan, run what is not up to date, and say what came of it."""
    path = config or _found()
    read, selection = read_config(path, overrides), select(only, from_stage, force)
    console = Console(stderr=True)
    print_warnings(console, config_warnings(path, read_overrides(overrides)))
    check_here(read, selection)
    if read.tracking.uri is not None:
        answering(read.tracking, read.place())  # an error now, not when footage has been read and weights downloaded
    planned = list(planned_stages(read, selection, downloads(read, selection), WeightsLines(console)))
    print_warnings(console, (warning for stage in planned for warning in stage.warnings))
    if not any(stage.will_run for stage in planned):
        for stage in planned:
            read.place().set_latest(stage.stage.name, str(stage.key))
        names = ", ".join(stage.name for stage in selection.wanted(read).stages)
        console.print(f"nothing to do: {names} are up to date in {read.workspace}", highlight=False)
        if (last := newest_report(read)) is not None:
            console.print(f"report: {last}", highlight=False, markup=False, soft_wrap=True)
        return
    if server_answers():
        _run_flow(path, overrides, only, from_stage, force)
        report = newest_report(read)
    else:
        console.print("[dim]no Prefect server answers (`ltx2-lora up` starts one); this run is seen here only[/dim]")
        report = run_here(read, selection).report
    print_result(console, report)


def print_result(console: Console, report: Path | None) -> None:
    """The result first, then what each stage did, and last the page that shows all of it."""
    if report is None:
        return
    record = read_json(report.parent / RECORD)
    for line in record["result"]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    table = Table("stage", "result", "items", "took", "GPU hours")
    for row in record["table"]:
        table.add_row(*row)
    console.print(table)
    console.print(f"report: {report}", highlight=False, markup=False, soft_wrap=True)


def _found() -> Path:
    for place in PLACES:
        if place.is_file():
            return place
    raise ConfigError(
        f"no configuration was named and there is no {' nor '.join(map(str, PLACES))} in {Path.cwd()}; "
        f"`ltx2-lora configure` writes one"
    )


def _run_flow(
    path: Path, overrides: Sequence[str] | None, only: str | None, from_stage: str | None, force: bool
) -> None:
    """Run the flow in this process, so that the server's UI shows it."""
    from flows.flows import kept_secret, ltx2_lora
    from flows.prefect_run import quiet_console, run_flow

    quiet_console()
    run_flow(
        ltx2_lora,
        config=str(path.resolve()),
        overrides=kept_secret(read_overrides(overrides)),
        only=only,
        from_stage=from_stage,
        force=force,
    )


def newest_report(config: RunConfig) -> Path | None:
    """The report of the run that just ended."""
    pages = sorted(find_whole(config.place().runs, f"*/{PAGE}"), key=lambda page: page.stat().st_mtime)
    return pages[-1] if pages else None


def stages() -> None:
    """Print the table of stages."""
    table = Table("stage", "does", "needs", "device")
    for stage in STAGES:
        needs = ", ".join((*stage.needs, *(f"{name} if on" for name in stage.uses)))
        table.add_row(stage.name, stage.summary.strip(), needs or "-", stage.device)
    Console().print(table)
