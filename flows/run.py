"""The work of every run, with Prefect or without: run stages, inform listeners and MLflow, write a report."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console

from datasets_spec import Manifest
from flows.config import RunConfig
from flows.listeners import READING, OfWeights, TerminalBars, TerminalLines
from flows.plan import Selection, inputs_of, prepare, required_manifest
from flows.report.page import write_record, write_report
from flows.report.summary import FinishedRun, summarise, terminal_rows
from flows.run_tracking import Tracked, tracked_settings
from flows.server.services import UI_VARIABLE
from ltx_core.errors import Stopped
from ltx_core.progress import SILENT, Progress
from tasks import STAGES
from tasks.runtime.launch import StageResult, perform, with_retries
from tasks.runtime.messages import Everyone, Listener
from tasks.runtime.stage import StageRun
from tasks.tracking.experiment import run_route
from tasks.tracking.mlflow import TrackedRun

REPORT = "report"
"""Name of the page that is written at the end, for those who watch."""
DEFAULT_UI = "http://127.0.0.1:5000"


def run_address(config: RunConfig, run: TrackedRun, artifact: str | None = None) -> str:
    """Link to one run, or to one of its artifacts: on the tracking server if one is configured, else on the UI that
    `ltx2-lora up` starts."""
    uri = config.tracking.uri
    server = str(uri) if uri is not None and uri.is_http else os.environ.get(UI_VARIABLE, DEFAULT_UI)
    return f"{server.rstrip('/')}/{run_route(run.experiment, run.run_id, artifact)}"


Perform = Callable[[StageRun[Any]], StageResult]


def run_stages(
    config: RunConfig, selection: Selection, perform: Perform, downloading: Progress = SILENT
) -> list[StageResult]:
    """Download what is missing, then perform each selected stage on what the earlier ones made.

    Raises:
        LtxError: a stage failed; earlier results are kept.
    """
    workspace, selection = config.place(), selection.wanted(config)
    shared, sections = prepare(config, selection, downloading)
    done: dict[str, Manifest[Any]] = {}
    results = []
    for stage in STAGES:
        if not selection.covers(stage):
            if any(stage.name in inputs_of(later, config) for later in selection.stages):
                done[stage.name] = required_manifest(stage, workspace)
            continue
        run = StageRun(
            stage=stage,
            config=sections[stage.name],
            shared=shared,
            inputs={name: done[name] for name in inputs_of(stage, config)},
            workspace=workspace,
            force=stage.name in selection.forced,
            later=selection.stages[selection.stages.index(stage) + 1 :],
        )
        result = perform(run)
        done[stage.name] = result.manifest
        results.append(result)
    return results


Around = Callable[[StageRun[Any], Callable[[], StageResult]], StageResult]
"""Calls what performs one stage: as it is, or as a Prefect task."""


@dataclass(frozen=True)
class Ran:
    """A run that ended well."""

    summary: FinishedRun
    report: Path
    tracked: TrackedRun

    @property
    def results(self) -> list[StageResult]:
        """Results of the stages."""
        return list(self.summary.results)


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
        began = time.monotonic()
        results = _run(config, selection, watching, tracked, around)
        summary = summarise(config, name, results, time.monotonic() - began)
        report = _report(config, summary, tracked, watching)
        tracked.conclude(summary, report)
        return Ran(summary, report, tracked.mlflow_run)


def _report(config: RunConfig, summary: FinishedRun, tracked: Tracked, watching: Listener) -> Path:
    """Write the page and the record of the run; shown like a stage, because previews of clips take a while."""
    watching.started(REPORT, "the stages are done")
    settings, links = tracked_settings(config), {"MLflow": run_address(config, tracked.mlflow_run)}
    report = write_report(config, summary, settings, links, partial(watching.advanced, REPORT))
    shown = {"result": summary.lines(), "table": terminal_rows(summary)}
    write_record(summary, settings, tracked.mlflow_run.run_id, shown)
    return report


@contextmanager
def terminal() -> Iterator[Listener]:
    """Bars where a person looks, lines where standard error goes elsewhere."""
    console = Console(stderr=True)
    with TerminalBars(console) if sys.stderr.isatty() else TerminalLines(console) as listener:
        yield listener


def _plainly(_run: StageRun[Any], body: Callable[[], StageResult]) -> StageResult:
    return body()


def _run(
    config: RunConfig, selection: Selection, watching: Listener, tracked: Tracked, around: Around
) -> list[StageResult]:
    listener = Everyone(watching, tracked)

    def performed(run: StageRun[Any]) -> StageResult:
        def attempt() -> StageResult:
            tracked.begin(run)
            result = perform(replace(run, progress=OfWeights(watching, READING)), listener)
            tracked.finish(result)
            return result

        return around(run, lambda: with_retries(attempt, lambda message: watching.noted(run.stage.name, message)))

    return run_stages(config, selection, performed, OfWeights(watching, "downloading"))


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
