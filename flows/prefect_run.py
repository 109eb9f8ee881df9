"""A run as a Prefect flow run: each stage a task, progress and results in Prefect's UI."""

import base64
import io
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from PIL import Image
from prefect import Flow, Task, task
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectException, TerminationSignal
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows.config import RunConfig
from flows.listeners import StagePace
from flows.plan import Selection
from flows.report.record import PAGE
from flows.report.summary import QUARANTINE_HEADERS, STAGE_HEADERS, FinishedRun, quarantine_rows, stage_rows
from flows.run import Around, run_address, run_tracked, terminal
from flows.server.processes import dead_runs, forget, recorded_process
from flows.server.services import UI_VARIABLE, api_url, up_record
from flows.signals import Ended
from ltx_core.errors import ConfigError, LtxError, Stopped, TransientError
from ltx_core.io.atomic import find_whole
from ltx_core.report.page import Badge, Cell
from tasks.runtime.launch import StageDied, StageResult
from tasks.runtime.messages import Everyone, Listener
from tasks.runtime.stage import Stage, StageRun
from tasks.tracking.mlflow import TrackedRun

IMAGE_EDGE = 1000
"""Longest edge in pixels of an image kept inside Prefect's database."""


def publish(summary: FinishedRun, run: TrackedRun, config: RunConfig) -> None:
    """Make the artifacts of a finished run; the result first.

    A browser opens no file of the disk from Prefect's page, so the link to the report leads to its copy in MLflow.
    """
    page = run_address(config, run, PAGE)
    create_markdown_artifact(
        markdown=f"{summary.markdown()}\n\n[Report]({page}), also in `{summary.folder / PAGE}`",
        key="result",
        description="Result of the run.",
    )
    create_link_artifact(
        link=page, link_text="Report of the run", key="report", description="The page with everything, in MLflow."
    )
    create_table_artifact(
        table=_plain(STAGE_HEADERS, stage_rows(summary)), key="stages", description="What each stage did."
    )
    create_table_artifact(
        table=_plain(QUARANTINE_HEADERS, quarantine_rows(summary)),
        key="quarantine",
        description="Items that were quarantined, each with its reason.",
    )
    create_link_artifact(
        link=run_address(config, run), link_text="MLflow run", key="mlflow-run", description="Curves and settings."
    )
    for result in summary.results:
        for path in find_whole(result.run.out, "*.png"):
            create_image_artifact(
                image_url=_data_uri(path),
                key=f"picture-{path.stem}".lower().replace("_", "-").replace(".", "-"),
                description=f"{result.summary.stage}: {path.name}",
            )


def _plain(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[dict[str, object]]:
    plain = [[cell.text if isinstance(cell, Badge) else cell for cell in row] for row in rows]
    return [dict(zip(headers, row, strict=True)) for row in plain]


def _data_uri(path: Path) -> str:
    """The image itself, scaled down: it is seen whether or not MLflow's server runs."""
    out = io.BytesIO()
    with Image.open(path) as image:
        image.thumbnail((IMAGE_EDGE, IMAGE_EDGE))
        image.convert("RGB").save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


ARTIFACT_INTERVAL_SECONDS = 2.0
"""Prefect's server takes about 12 ms an update; more often would load it for nothing."""


class PrefectProgress(Listener):
    """A progress artifact for each stage, updated in place: counts, losses, pace and time left, or what the stage last
    noted, such as what it waits for. Notes go into the run's log too. A server that is gone ends no stage: it gets
    nothing more."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        """`lost` is called once, with a line for people, when the server is gone."""
        self._lost = lost
        self._gone = False
        self._artifact: dict[str, UUID] = {}
        self._pace = StagePace("")
        self._updated_at = 0.0

    def started(self, stage: str, why: str) -> None:
        """Make the artifact."""
        get_run_logger().info("%s starts: %s", stage, why)
        self._pace = StagePace(why)
        with self._unless_gone():
            made = create_progress_artifact(progress=0.0, key=f"progress-{stage.replace('_', '-')}", description=why)
            assert isinstance(made, UUID)
            self._artifact[stage] = made

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        """Update the artifact, now and then."""
        self._pace.advance(done, total, unit)
        now = time.monotonic()
        if done < total and now - self._updated_at < ARTIFACT_INTERVAL_SECONDS:
            return
        self._updated_at = now
        self._update(stage, self._pace.line)

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """MLflow shows metrics; the loss is part of the next update."""
        self._pace.measure(values)

    def noted(self, stage: str, message: str) -> None:
        """Into the flow run's log, and onto the artifact, if the stage has begun."""
        get_run_logger().info("%s: %s", stage, message)
        self._update(stage, message)

    def _update(self, stage: str, description: str) -> None:
        percent = 100.0 * self._pace.done / max(self._pace.total, 1)
        if stage in self._artifact and not self._gone:
            with self._unless_gone():
                update_progress_artifact(self._artifact[stage], progress=percent, description=description)

    @contextmanager
    def _unless_gone(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, PrefectException) as error:
            self._gone = True
            self._lost(f"Prefect's server answers no more ({error}); the stage goes on without it")


Upstream = Mapping[str, Any]
STOPS = (KeyboardInterrupt, SystemExit, TerminationSignal, Stopped)
"""The way to stop a run; everything that the stage had finished is kept."""


def as_task(stage: Stage[Any, Any], body: Callable[[], StageResult]) -> Task[[Upstream], State[str]]:
    """A task that runs `body`; its state is named `Built`, `Reused`, `Failed` or `Cancelled`, and its data is what
    `body` raised, if it did: raised through Prefect, an error that its message explains would become a traceback, and
    a request to stop a crash.

    The task takes the states of the stages it needs, only so that Prefect draws the edges. Not cached by Prefect: a
    task cache sees neither an edit in code that the task calls nor a deleted output.
    """

    def run(needs: Upstream) -> State[str]:
        try:
            result = body()
        except STOPS as stop:
            return Cancelled(message=str(stop) if isinstance(stop, Stopped) else "interrupted")
        except (LtxError, StageDied) as error:
            return Failed(message=f"{type(error).__name__}: {error}")
        summary = result.summary
        message = f"{summary.num_out} of {summary.num_in} {summary.unit}, {summary.computed} computed"
        return Completed(name=result.state_name, message=message, data=str(result.manifest.path))

    run.__qualname__ = stage.name  # Prefect derives the task key from it; else all stages share one
    return task(
        name=stage.name,
        description=stage.summary,
        tags={stage.device},
        retries=1,  # with none, Prefect logs a failed state with the traceback of no exception
        retry_condition_fn=lambda *_: False,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(run)


def run_flow(flow: Flow[Any, Any], **parameters: Any) -> Any:
    """The flow's result.

    Raises:
        LtxError: what a stage found wrong.
        ConfigError: Prefect refused the parameters.
        TransientError: its server is gone.
    """
    try:
        EXPLAINED.clear()
        state: Any = flow(**parameters, return_state=True)  # whose overloads take a flow of anything for one of nothing
    except httpx.TransportError as error:
        raise TransientError(
            f"Prefect's server at {api_url()} answers no more ({error}). What was finished is kept; run again, "
            f"and if it is still gone the rest runs without it"
        ) from error
    except PrefectException as error:
        raise ConfigError(f"Prefect refused to run {flow.name}: {error}") from error
    if EXPLAINED:
        raise EXPLAINED.pop()
    return state.result()


def quiet_console() -> None:
    """Bars and lines of ours tell how it goes, and what it ended of; Prefect's go to its server alone."""
    for name in ("prefect", "prefect._internal"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False  # with none, Python prints warnings itself
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # Prefect's handler, whose server is gone, would print that at each line


def crash_dead_runs(client: SyncPrefectClient) -> list[str]:
    """Names of the runs that were marked."""
    marked = []
    for run_id in dead_runs():
        try:
            run = client.read_flow_run(UUID(run_id))
        except ObjectNotFound:  # of another server, or deleted
            forget(run_id)
            continue
        if run.state is not None and not run.state.is_final():
            client.set_flow_run_state(run.id, Crashed(message="its process is gone"), force=True)
            marked.append(run.name)
        forget(run_id)
    return marked


T = TypeVar("T")
RETRIES = 3
"""Of a request to a server that is gone, by a command whose user waits: 14 s, in which `up` has started it again."""
EXPLAINED: list[BaseException] = []
"""Reasons why the flows of this process ended, the last one last."""


def run_in_flow(config: RunConfig, selection: Selection) -> list[StageResult]:
    """Run the selected stages inside the current flow run.

    Raises:
        LtxError: a stage failed; MLflow's run says FAILED and a retry of the flow run goes on with it.
    """
    run = _flow_run()
    of_a_command = _is_of_a_command(run)
    if of_a_command:
        get_current_settings().client.max_retries = RETRIES
        _link_to_mlflow_of_up()
    with get_client(sync_client=True) as client:
        crash_dead_runs(client)
    with recorded_process(str(run.id)), terminal() if of_a_command else nullcontext(Everyone()) as watching:
        lost = partial(_lost, watching) if of_a_command else get_run_logger().warning
        seen = Everyone(watching, PrefectProgress(lost))
        ran = run_tracked(config, selection, key=str(run.id), name=run.name, watching=seen, around=_as_tasks())
        publish(ran.summary, ran.tracked, config)
    return ran.results


def _link_to_mlflow_of_up() -> None:
    """Let links to this run's page in MLflow lead where `ltx2-lora up` serves it, whatever its port."""
    with suppress(ConfigError):  # a damaged record costs the run its link, and `up` and `down` say what to do about it
        up = up_record()
        if up is not None and up.mlflow_url is not None and up.process.is_alive():
            os.environ.setdefault(UI_VARIABLE, up.mlflow_url)


def _lost(watching: Listener, message: str) -> None:
    """Say it, and let Prefect's last requests, which can only fail, fail at once: each would be tried for a minute."""
    watching.noted("Prefect", message)
    get_current_settings().client.max_retries = 0


def explained(work: Callable[[], T]) -> T | State[Any]:
    """Return the result of a flow: what `work` returns, or the state that says why it failed or was interrupted.

    Raised through Prefect, an error that its message explains would be a hundred lines of traceback in the run's log,
    and ctrl-C would end Prefect's own thread. Who called the flow in this process finds it in `EXPLAINED`. SIGTERM, for
    which Prefect has a handler of its own, ends a command's run as ctrl-C does; a worker says itself what it meant.
    """
    try:
        return work()
    except TerminationSignal as stop:
        if not _is_of_a_command(_flow_run()):
            raise
        EXPLAINED.append(Ended(stop.signal))
        return Cancelled(message="interrupted; what was finished is kept")
    except (KeyboardInterrupt, Stopped) as stop:
        EXPLAINED.append(stop)
        return Cancelled(message=str(stop) if isinstance(stop, Stopped) else "interrupted; what was finished is kept")
    except (LtxError, StageDied) as error:
        EXPLAINED.append(error)
        return Failed(message=f"{type(error).__name__}: {error}")


def _as_tasks() -> Around:
    states: dict[str, State[str]] = {}

    def as_one(run: StageRun[Any], body: Callable[[], StageResult]) -> StageResult:
        ended: list[StageResult | BaseException] = []

        def kept() -> StageResult:
            try:
                result = body()
            except BaseException as error:
                ended.append(error)
                raise
            ended.append(result)
            return result

        stage = run.stage
        states[stage.name] = as_task(stage, kept)({n: states[n] for n in stage.read_of(states) if n in states})
        if isinstance(ended[-1], BaseException):
            raise ended[-1]
        return ended[-1]

    return as_one


def _is_of_a_command(run: FlowRun) -> bool:
    """Else it is a worker's, whose output is Prefect's log."""
    return run.deployment_id is None


def _flow_run() -> FlowRun:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run
