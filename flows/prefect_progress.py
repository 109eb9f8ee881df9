"""A listener to a running stage that tells Prefect's UI."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from flows.pace import StagePace

ARTIFACT_INTERVAL_SECONDS = 2.0
"""Prefect's server takes about 12 ms an update; more often would load it for nothing."""


class PrefectProgress:
    """A progress artifact for each stage, updated in place: counts, losses, pace and time left, or what the stage last
    noted, such as what it waits for. Notes go into the run's log too. A server that is gone ends no stage: it is told
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
        share = 100.0 * self._pace.done / max(self._pace.total, 1)
        if stage in self._artifact and not self._gone:
            with self._unless_gone():
                update_progress_artifact(self._artifact[stage], progress=share, description=description)

    @contextmanager
    def _unless_gone(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, PrefectException) as error:
            self._gone = True
            self._lost(f"Prefect's server answers no more ({error}); the stage goes on without it")
