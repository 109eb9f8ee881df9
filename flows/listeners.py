"""Listeners to a running stage: lines and bars on a terminal, a progress artifact in Prefect's UI."""

import time
from collections.abc import Mapping
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ltx_core.progress import Silent
from tasks.events import Listener

ARTIFACT_INTERVAL_SECONDS = 2.0
"""Prefect's server takes about 12 ms an update; more often would load it for nothing."""


class Downloading(Silent):
    """The progress of a download, which no stage makes, told to those who watch stages."""

    NAME = "weights"

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._began = False

    def advance(self, done: int, total: int, unit: str) -> None:
        """Pass it on; the first time as a start."""
        if not self._began:
            self._began = True
            self._listener.started(self.NAME, "downloading")
        self._listener.advanced(self.NAME, done, total, unit)


class TerminalBars:
    """Rich bars, one a stage. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.fields[stage]:<18}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
        )
        self._bar: dict[str, TaskID] = {}

    def __enter__(self) -> "TerminalBars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def started(self, stage: str, why: str) -> None:
        """A new bar."""
        if stage not in self._bar:
            self._bar[stage] = self._bars.add_task(stage, stage=stage, unit="", detail=why, total=None)

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        """Move the bar."""
        self._bars.update(self._bar[stage], completed=done, total=total, unit=unit, detail="")

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Show the losses beside the bar."""
        shown = ", ".join(
            f"{name} {value:.4f}" for name, value in values.items() if name.startswith(("loss", "eval/loss"))
        )
        if shown:
            self._bars.update(self._bar[stage], detail=f"step {step}: {shown}")

    def noted(self, stage: str, message: str) -> None:
        """Print the line above the bars."""
        self._bars.console.print(f"[dim]{stage}:[/dim] {message}", highlight=False)


class PrefectProgress:
    """A progress artifact for each stage, updated in place, and notes in the run's log."""

    def __init__(self) -> None:
        self._artifact: dict[str, UUID] = {}
        self._updated_at = 0.0

    def started(self, stage: str, why: str) -> None:
        """Make the artifact."""
        get_run_logger().info("%s starts: %s", stage, why)
        made = create_progress_artifact(progress=0.0, key=f"progress-{stage.replace('_', '-')}", description=why)
        assert isinstance(made, UUID)
        self._artifact[stage] = made

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        """Update the artifact, now and then."""
        now = time.monotonic()
        if done < total and now - self._updated_at < ARTIFACT_INTERVAL_SECONDS:
            return
        self._updated_at = now
        share = 100.0 * done / max(total, 1)
        update_progress_artifact(self._artifact[stage], progress=share, description=f"{done} of {total} {unit}")

    def measured(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """MLflow shows metrics."""

    def noted(self, stage: str, message: str) -> None:
        """Into the flow run's log."""
        get_run_logger().info("%s: %s", stage, message)
