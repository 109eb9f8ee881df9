"""MLflow: one parent run for each flow run, a child a stage, found again when a flow run is retried."""

import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.shared import TrackingConfig
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAM_LIMIT = 500
"""MLflow cuts or refuses longer parameter values."""


def tracking_uri(config: TrackingConfig, workspace: Workspace) -> str:
    """The tracking server: as configured, else a database in the workspace, never one that depends on the folder."""
    return config.uri or f"sqlite:///{workspace.root.resolve() / 'mlflow.db'}"


def connect(config: TrackingConfig, workspace: Workspace) -> "tuple[MlflowClient, str]":
    """A client, and the id of the experiment, made if need be."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # importing mlflow sets it to INFO

    workspace.root.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=tracking_uri(config, workspace))
    found = client.get_experiment_by_name(config.experiment)
    if found is not None:
        return client, str(found.experiment_id)
    place = None if config.uri else (workspace.root.resolve() / "mlartifacts").as_uri()
    return client, str(client.create_experiment(config.experiment, artifact_location=place))


@dataclass(frozen=True)
class TrackedRun:
    """One MLflow run."""

    client: "MlflowClient"
    experiment: str
    run_id: str

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters once; a retried run keeps those it has, which are the same."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        new = [Param(k, str(v)[:PARAM_LIMIT]) for k, v in flatten(values).items() if k not in known]
        for start in range(0, len(new), 100):
            self.client.log_batch(self.run_id, params=new[start : start + 100])

    def metrics(self, points: Iterable[tuple[str, float, int]]) -> None:
        """Log (name, value, step) points in one go."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = [Metric(name, value, now, step) for name, value, step in points]
        for start in range(0, len(batch), 1000):
            self.client.log_batch(self.run_id, metrics=batch[start : start + 1000])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in values.items()])

    def artifacts(self, files: Iterable[Path], folder: str | None = None) -> None:
        """Copy files into the run."""
        for file in files:
            self.client.log_artifact(self.run_id, str(file), folder)

    def dataset(self, name: str, digest: str, source: str) -> None:
        """Say what the run consumed."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=name, digest=digest[:36], source_type="local", source=source)
        tags = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(self.run_id, [DatasetInput(dataset=dataset, tags=tags)])

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)


def find_or_start(
    config: TrackingConfig, workspace: Workspace, *, key: str, name: str, parent: str | None = None
) -> TrackedRun:
    """The run tagged with `key`, going on, or a new one."""
    client, experiment = connect(config, workspace)
    hits = client.search_runs([experiment], f"tags.`ltx2.key` = '{key}'", max_results=1)
    if hits:
        run_id = hits[0].info.run_id
        client.update_run(run_id, status="RUNNING")
        return TrackedRun(client, experiment, run_id)
    tags = {"ltx2.key": key} | ({"mlflow.parentRunId": parent} if parent else {})
    run = client.create_run(experiment, run_name=name, tags=tags)
    return TrackedRun(client, experiment, run.info.run_id)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names; lists of mappings are numbered."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}.")
        elif isinstance(value, (list, tuple)) and value and all(isinstance(v, Mapping) for v in value):
            flat |= flatten({str(i): v for i, v in enumerate(value)}, f"{path}.")
        else:
            flat[path] = value
    return flat
