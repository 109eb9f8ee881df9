"""Stage to Prefect task. Prefect orders and shows; the stage's manifest alone decides whether work is needed.

The only module outside flows/ that imports Prefect.
"""

from collections.abc import Callable, Mapping
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Completed, Failed

from ltx_core.errors import LtxError, Stopped
from tasks.death import StageDied
from tasks.perform import StageResult
from tasks.stage import Stage

Upstream = Mapping[str, Any]
STOPS = (KeyboardInterrupt, SystemExit, TerminationSignal, Stopped)
"""How a run is told to stop; what the stage had finished is kept."""


def as_task(stage: Stage, body: Callable[[], StageResult]) -> Task[[Upstream], State[str]]:
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
