"""Figures of the machine while a run is tracked. Imports MLflow."""

from collections.abc import Mapping

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from tasks.tracking.log import LoggedRun

INTERVAL_SECONDS = 5


class SystemMetrics(SystemMetricsMonitor):  # type: ignore[misc]  # MLflow is untyped here
    """MLflow's monitor, which tells the run's log instead of MLflow itself, and so outlives a server that is away."""

    def __init__(self, run: LoggedRun, run_id: str) -> None:
        """`run_id`: MLflow's name of the run, whose steps go on."""
        uri = run.log.client.tracking_uri
        super().__init__(run_id, sampling_interval=INTERVAL_SECONDS, resume_logging=True, tracking_uri=uri)
        self._run = run

    def monitor(self) -> None:
        """Measure until the end; the loop of the thread."""
        while not self._shutdown_event.is_set():
            self.collect_metrics()
            self._shutdown_event.wait(self.sampling_interval)
            self.publish_metrics(self.aggregate_metrics())

    def publish_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add them to the log."""
        self._run.metrics(
            (f"{self._metrics_prefix}{name}", value, self._logging_step) for name, value in metrics.items()
        )
        self._logging_step += 1
        for monitor in self.monitors:
            monitor.clear_metrics()

    def finish(self) -> None:
        """End the thread."""
        self._shutdown_event.set()
        self._process.join()
