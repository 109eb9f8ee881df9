"""A run as a Prefect flow run: each stage a task, progress and results in Prefect's UI."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Failed

from flows.artifacts import publish
from flows.config import RunConfig
from flows.prefect_progress import PrefectProgress
from flows.processes import recorded_process
from flows.reconcile import crash_dead_runs
from flows.run import Around, run_tracked, terminal
from flows.selection import Selection
from flows.signals import Ended
from ltx_core.errors import LtxError, Stopped
from tasks.binding import as_task
from tasks.death import StageDied
from tasks.events import Everyone, Listener
from tasks.perform import StageResult
from tasks.stage_run import StageRun

T = TypeVar("T")
RETRIES = 3
"""Of a request to a server that is gone, by a command whose user waits: 14 s, in which `up` has started it again."""
EXPLAINED: list[BaseException] = []
"""What ended the flows of this process, the last one last."""


def run_in_flow(config: RunConfig, selection: Selection) -> list[StageResult]:
    """Run the selected stages inside the current flow run.

    Raises:
        LtxError: a stage failed; MLflow's run says FAILED and a retry of the flow run goes on with it.
    """
    run = _flow_run()
    of_a_command = _is_of_a_command(run)
    if of_a_command:
        get_current_settings().client.max_retries = RETRIES
    with get_client(sync_client=True) as client:
        crash_dead_runs(client)
    with recorded_process(str(run.id)), terminal() if of_a_command else nullcontext(Everyone()) as watching:
        lost = partial(_lost, watching) if of_a_command else get_run_logger().warning
        seen = Everyone(watching, PrefectProgress(lost))
        ran = run_tracked(config, selection, key=str(run.id), name=run.name, watching=seen, around=_as_tasks())
        publish(ran.results, ran.tracked, config)
    return ran.results


def _lost(watching: Listener, message: str) -> None:
    """Say it, and let Prefect's last requests, which can only fail, fail at once: each would be tried for a minute."""
    watching.noted("Prefect", message)
    get_current_settings().client.max_retries = 0


def explained(work: Callable[[], T]) -> T | State[Any]:
    """What a flow returns: what `work` gives, or the state that says why it failed or was interrupted.

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

    def as_one(run: StageRun, body: Callable[[], StageResult]) -> StageResult:
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
