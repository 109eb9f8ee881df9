"""Stage to Prefect task. Prefect orders, retries and shows; the stage's manifest alone decides whether work is needed.

The only module outside flows/ that imports Prefect.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.concurrency.context import ConcurrencyContext
from prefect.concurrency.sync import concurrency
from prefect.settings import get_current_settings
from prefect.states import Completed

from ltx_core.errors import TransientError
from tasks.results import StageResult
from tasks.stage import Stage

GPU_LIMIT = "gpu"
"""Global concurrency limit with one slot for each GPU; `ltx2-lora up` makes it."""
LEASE_SECONDS = 60
"""A dead holder's slot is free again after this, the least that Prefect's server takes; `up` frees it sooner."""
RETRY_DELAYS_SECONDS = [5.0, 30.0]
Upstream = Mapping[str, Any]


def as_task(stage: Stage, body: Callable[[], StageResult]) -> Task[[Upstream], State[str]]:
    """A task that runs `body`; its state is named `Built` or `Reused`.

    The task takes the states of the stages it needs, only so that Prefect draws the edges. Not cached by Prefect: a
    task cache sees neither an edit in code that the task calls nor a deleted output.
    """

    def run(needs: Upstream) -> State[str]:
        result = body()
        summary = result.summary
        message = f"{summary.num_out} of {summary.num_in} {summary.unit}, {summary.computed} computed"
        return Completed(name=result.state_name, message=message, data=str(result.manifest.path))

    run.__qualname__ = stage.name  # Prefect derives the task key from it; else all stages share one
    return task(
        name=stage.name,
        description=stage.summary,
        tags={stage.device},
        retries=len(RETRY_DELAYS_SECONDS),
        retry_delay_seconds=RETRY_DELAYS_SECONDS,
        retry_condition_fn=_is_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(run)


@contextmanager
def gpu_slot(held: Callable[[UUID], None]) -> Iterator[None]:
    """Hold one GPU, shown in Prefect's UI; a temporary server has no limits and no other runs to wait for.

    `held` is told the lease, by which the slot of a process that was killed can be freed.
    """
    if not get_current_settings().api.url:
        yield
        return
    # not strict: where the server has no such limit there is nothing to wait for
    with concurrency(GPU_LIMIT, occupy=1, strict=False, lease_duration=LEASE_SECONDS):
        context = ConcurrencyContext.get()
        if context is not None and context.cleanup_lease_ids:
            held(context.cleanup_lease_ids[-1])
        yield


def _is_transient(_task: Any, _run: Any, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), TransientError)
