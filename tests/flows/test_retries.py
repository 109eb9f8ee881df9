"""Prefect retries what may pass by itself, and nothing else."""

from typing import Any

import pytest
from prefect import flow
from prefect.client.schemas.objects import State

from ltx_core.errors import ConfigError, DataError, OutOfMemory, TransientError
from tasks import STAGES
from tasks.binding import RETRY_DELAYS_SECONDS, as_task
from tasks.results import StageResult
from tests.flows.lab import Lab


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(TransientError, 1 + len(RETRY_DELAYS_SECONDS)), (DataError, 1), (ConfigError, 1), (OutOfMemory, 1)],
)
def test_only_transient_errors_are_tried_again(lab: Lab, error: type[Exception], attempts: int) -> None:
    tries = []

    def body() -> StageResult:
        tries.append(error)
        raise error("as the test wants")

    @flow(name="retries")
    def retries() -> State[Any]:
        state: State[Any] = as_task(STAGES[0], body).with_options(retry_delay_seconds=0)({}, return_state=True)
        return state

    with lab.settings():
        state = retries(return_state=True)
    assert len(tries) == attempts
    assert state.is_failed()
    with pytest.raises(error, match="as the test wants"):
        state.result()
