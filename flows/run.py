"""What every run does, with Prefect or without: run stages, tell those who watch and MLflow, leave a report."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from rich.console import Console

from flows.config import RunConfig
from flows.listeners import Downloading, TerminalBars, TerminalLines
from flows.pipeline import run_stages
from flows.report import write_report
from flows.selection import Selection
from flows.tracked import Tracked
from ltx_core.errors import Stopped
from tasks.events import Everyone, Listener
from tasks.perform import StageResult, perform
from tasks.retry import with_retries
from tasks.stage_run import StageRun
from tasks.tracking import TrackedRun

Around = Callable[[StageRun, Callable[[], StageResult]], StageResult]
"""Calls what performs one stage: as it is, or as a Prefect task."""


@dataclass(frozen=True)
class Ran:
    """A run that ended well."""

    results: list[StageResult]
    report: Path
    tracked: TrackedRun


def run_here(config: RunConfig, selection: Selection) -> Ran:
    """Run the selected stages in this process, without Prefect.

    Raises:
        LtxError: a stage failed; what was finished is kept, and the next run goes on with it.
    """
    key = uuid4().hex
    name = f"{datetime.now():%Y-%m-%d-%H%M%S}-{key[:4]}"
    with terminal() as watching:
        return run_tracked(config, selection, key=key, name=name, watching=watching, around=_plainly)


def run_tracked(
    config: RunConfig, selection: Selection, *, key: str, name: str, watching: Listener, around: Around
) -> Ran:
    """Run the selected stages; `key` is what a retry of the same run is found by, `name` what people read.

    Raises:
        LtxError: a stage failed; MLflow's run says FAILED.
    """
    with _tracked(config, key, name, watching) as tracked:
        results = _run(config, selection, watching, tracked, around)
        report = write_report(config, name, results, tracked.shown)
        tracked.parent.artifacts([report])
        return Ran(results, report, tracked.shown)


@contextmanager
def terminal() -> Iterator[Listener]:
    """Bars where a person looks, lines where standard error goes elsewhere."""
    console = Console(stderr=True)
    with TerminalBars(console) if sys.stderr.isatty() else TerminalLines(console) as listener:
        yield listener


def _plainly(_run: StageRun, body: Callable[[], StageResult]) -> StageResult:
    return body()


def _run(
    config: RunConfig, selection: Selection, watching: Listener, tracked: Tracked, around: Around
) -> list[StageResult]:
    listener = Everyone(watching, tracked)

    def performed(run: StageRun) -> StageResult:
        def attempt() -> StageResult:
            tracked.begin(run)
            result = perform(run, listener)
            tracked.finish(result)
            return result

        return around(run, lambda: with_retries(attempt, lambda message: watching.noted(run.stage.name, message)))

    return run_stages(config, selection, performed, Downloading(watching))


@contextmanager
def _tracked(config: RunConfig, key: str, name: str, watching: Listener) -> Iterator[Tracked]:
    here = copy_context()  # Prefect's log finds its run by it, in the thread that tells MLflow too
    tracked = Tracked(
        config, key=key, name=name, say=lambda message: here.copy().run(watching.noted, "tracking", message)
    )
    status = "FAILED"
    try:
        yield tracked
        status = "FINISHED"
    except BaseException as error:  # Prefect's request to stop is one too
        if isinstance(error, Stopped) or not isinstance(error, Exception):
            status = "KILLED"
        raise
    finally:
        tracked.end(status)
