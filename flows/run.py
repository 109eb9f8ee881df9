"""What every flow does: run stages as Prefect tasks, tell the terminal, Prefect's UI and MLflow, leave a report."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from rich.console import Console

from flows.artifacts import publish
from flows.config import RunConfig
from flows.listeners import Downloading, PrefectProgress, TerminalBars
from flows.pipeline import run_stages
from flows.processes import record_lease, recorded_process
from flows.report import write_report
from flows.selection import Selection
from flows.tracked import Tracked
from tasks.binding import as_task, gpu_slot
from tasks.events import Everyone, Listener
from tasks.perform import Slot, StageCall, perform
from tasks.registry import stage_named
from tasks.results import StageResult


def run_in_flow(config: RunConfig, selection: Selection) -> list[StageResult]:
    """Run the selected stages inside the current flow run.

    Raises:
        LtxError: a stage failed; MLflow's run says FAILED and a retry of the flow run goes on with it.
    """
    flow_run_id, name = _flow_run()
    with recorded_process(flow_run_id), _tracked(config, flow_run_id, name) as tracked, _bars() as bars:
        watching = Everyone(*bars, PrefectProgress())
        slot = partial(gpu_slot, partial(record_lease, flow_run_id))
        results = _run(config, selection, watching, tracked, slot)
        report = write_report(config, name, results, tracked.parent)
        publish(results, tracked.parent, config)
        tracked.parent.artifacts([report])
    return results


def _run(
    config: RunConfig, selection: Selection, watching: Listener, tracked: Tracked, slot: Slot
) -> list[StageResult]:
    states: dict[str, State[str]] = {}
    listener = Everyone(watching, tracked)

    def perform_as_task(call: StageCall) -> StageResult:
        made: list[StageResult] = []

        def body() -> StageResult:
            tracked.begin(call)
            result = perform(call, listener, slot)
            tracked.finish(call, result)
            made.append(result)
            return result

        stage = stage_named(call.stage)
        states[stage.name] = as_task(stage, body)({n: states[n] for n in stage.read_of(states) if n in states})
        return made[-1]

    return run_stages(config, selection, perform_as_task, Downloading(watching))


def _flow_run() -> tuple[str, str]:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return str(context.flow_run.id), context.flow_run.name


@contextmanager
def _tracked(config: RunConfig, flow_run_id: str, name: str) -> Iterator[Tracked]:
    tracked = Tracked(config, key=flow_run_id, name=name)
    status = "FAILED"
    try:
        yield tracked
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tracked.end(status)


@contextmanager
def _bars() -> Iterator[tuple[Any, ...]]:
    """Bars where a person looks; workers and tests have no terminal."""
    if not sys.stderr.isatty():
        yield ()
        return
    with TerminalBars(Console(stderr=True)) as bars:
        yield (bars,)
