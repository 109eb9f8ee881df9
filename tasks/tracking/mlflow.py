"""MLflow: one parent run for each flow run, a child a stage, found again when a flow run is retried."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from ltx_core.errors import ConfigError, StorageError, TransientError
from ltx_core.io.atomic import atomic_path, is_full_disk
from ltx_core.report.embed import self_contained
from tasks.runtime.shared import TrackingConfig
from tasks.runtime.workspace import Workspace
from tasks.tracking.address import Address, hide_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sqlalchemy import Engine


PARAM_LIMIT = 500
"""MLflow cuts or refuses longer parameter values."""
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""MLflow's own would wait minutes for a server that is away; ours is asked again later. What the user set holds."""
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
PROBE_SECONDS = 5.0
"""Seconds that a run that begins waits for any answer."""
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
FULL = "disk is full"
READ_ONLY = "readonly database"
"""SQLite's words for both."""


def tracking_uri(config: TrackingConfig, workspace: Workspace) -> str:
    """The tracking server: as configured, else a database in the workspace, never one that depends on the folder.

    It has its account, unless it is a server's (see `connect`).

    Raises:
        ConfigError: no address can name a database at the workspace's path.
    """
    if config.uri is None:
        return _database_uri(workspace.root.resolve() / DATABASE)
    return _without_account(config.uri) if config.uri.is_http else config.uri.whole


def connect(config: TrackingConfig, workspace: Workspace) -> "tuple[MlflowClient, str]":
    """A client, and the id of the experiment, made if need be.

    The account of a server goes to MLflow by its variables, so that no message or record of MLflow's has it.

    Raises:
        ConfigError: as for `tracking_uri`.
        TransientError: the server does not answer or refuses, or the database is locked.
        StorageError: the database's disk is full.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if config.uri is not None and config.uri.is_http:
        os.environ.update(_account(config.uri))
    with tracking_errors(config, workspace):
        from mlflow import MlflowClient

        for library in ("mlflow", "urllib3.connectionpool"):  # what goes wrong is raised, and reported once, by us
            logging.getLogger(library).setLevel(logging.CRITICAL)
        uri = tracking_uri(config, workspace)
        if config.uri is None:
            _make_database(workspace.root.resolve() / DATABASE)
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(config.experiment)
        if found is not None:
            return client, str(found.experiment_id)
        place = None if config.uri else (workspace.root.resolve() / ARTIFACTS).as_uri()
        return client, str(client.create_experiment(config.experiment, artifact_location=place))


def answering(config: TrackingConfig, workspace: Workspace) -> "tuple[MlflowClient, str]":
    """`connect`, once something answers at the configured address: who waits for a run to begin hears of it soon.

    Raises:
        TransientError: nothing answers within PROBE_SECONDS; and as for `connect`.
        StorageError: as for `connect`.
    """
    if config.uri is not None:
        with tracking_errors(config, workspace):
            _reach(config.uri)
    return connect(config, workspace)


def _reach(uri: Address) -> None:
    """See that a server's or a database's port answers, whatever it says.

    Raises:
        OSError: it does not.
    """
    parts = urlsplit(uri.whole)
    if uri.is_http:
        import requests

        with contextlib.suppress(requests.exceptions.SSLError):  # somebody is there; MLflow's own settings decide
            requests.get(f"{_without_account(uri).rstrip('/')}/health", timeout=PROBE_SECONDS, stream=True).close()
    elif parts.hostname:
        port = parts.port or DATABASE_PORTS.get(parts.scheme.partition("+")[0])
        if port is not None:
            socket.create_connection((parts.hostname, port), PROBE_SECONDS).close()


@contextmanager
def tracking_errors(config: TrackingConfig, workspace: Workspace) -> Iterator[None]:
    """Say what MLflow's errors mean, and what to do; without secrets.

    Raises:
        TransientError: it did not work this time.
        StorageError: the disk of the tracking database is full or read-only.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    where = f"{workspace.root / DATABASE}" if config.uri is None else str(config.uri)
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        if FULL in str(error) or (isinstance(error, OSError) and is_full_disk(error)):
            raise StorageError(f"the disk of {where} is full; free some space, then run again") from None
        if READ_ONLY in str(error):
            raise StorageError(
                f"{where} cannot be written, because it or its disk is read-only. Set "
                f"`{'workspace' if config.uri is None else 'tracking.uri'}` to a place that this user may write."
            ) from None
        elsewhere = "" if config.uri is None else ", or track in the workspace with --set tracking.uri=null"
        raise TransientError(
            f"MLflow at {where} does not answer, or refuses ({short(error)}). See that it runs and lets this account in"
            f"{elsewhere}"
        ) from None


def short(error: BaseException) -> str:
    """The beginning of a library's message, on one line."""
    line = " ".join(hide_secrets(str(error)).split()) or type(error).__name__
    return line if len(line) <= 200 else f"{line[:197]}..."


def _database_uri(path: Path) -> str:
    if "?" in str(path):  # which begins the options of such an address: the database would lie at another path
        raise ConfigError(
            f"the workspace's database would be {path}, and MLflow takes no path with a question mark; rename the "
            f"folder, set workspace to another, or set tracking.uri"
        )
    return f"sqlite:///{path}"


def _make_database(path: Path) -> None:
    """All tables or no file: MLflow makes nothing of a database that a full disk or a kill left half made."""
    if path.exists():
        return
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
    from sqlalchemy import event

    with atomic_path(path) as partial:
        engine = create_sqlalchemy_engine(_database_uri(partial))
        # flushed once, at the end, instead of some hundred times
        event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous = OFF"))
        try:
            _initialize_tables(engine)
            _make_default_experiment(engine, path.with_name(ARTIFACTS))
        finally:
            engine.dispose()


def _make_default_experiment(engine: "Engine", artifacts: Path) -> None:
    """The experiment that MLflow wants in every database. It would write the folder of the process into its statement
    as it is, which fails for names with quotes."""
    from mlflow.entities import Experiment
    from mlflow.store.tracking.dbmodels.models import SqlExperiment
    from sqlalchemy.orm import Session

    name = Experiment.DEFAULT_EXPERIMENT_NAME
    with Session(engine) as session, session.begin():
        session.add(SqlExperiment(experiment_id=0, name=name, artifact_location=artifacts.as_uri()))


def _without_account(uri: Address) -> str:
    parts = urlsplit(uri.whole)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _account(uri: Address) -> dict[str, str]:
    """MLflow's variables for the account in an address, if there is one."""
    parts = urlsplit(uri.whole)
    named = {"MLFLOW_TRACKING_USERNAME": parts.username, "MLFLOW_TRACKING_PASSWORD": parts.password}
    return {name: unquote(value) for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class TrackedRun:
    """One MLflow run, logged at once."""

    client: "MlflowClient"
    experiment: str
    run_id: str

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters once; a retried run keeps those it has, which are the same."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        new = [Param(k, str(v)[:PARAM_LIMIT]) for k, v in values.items() if k not in known]
        for start in range(0, len(new), 100):
            self.client.log_batch(self.run_id, params=new[start : start + 100])

    def metrics(self, points: Iterable[tuple[str, float, int]], at_ms: int) -> None:
        """Log (name, value, step) points of a moment, in milliseconds since 1970, in one go."""
        from mlflow.entities import Metric

        batch = [Metric(name, value, at_ms, step) for name, value, step in points]
        for start in range(0, len(batch), 1000):
            self.client.log_batch(self.run_id, metrics=batch[start : start + 1000])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in values.items()])

    def artifacts(self, files: Iterable[Path], folder: str | None = None) -> None:
        """Copy files into the run; a page with its videos inside, because MLflow shows it without the files beside."""
        for file in files:
            if file.suffix == ".html":
                name = file.name if folder is None else f"{folder}/{file.name}"
                self.client.log_text(self.run_id, self_contained(file), name)
            else:
                self.client.log_artifact(self.run_id, str(file), folder)

    def name(self, name: str) -> None:
        """Give it another name."""
        self.client.update_run(self.run_id, name=name)

    def dataset(self, name: str, digest: str, source: str) -> None:
        """Say what the run consumed."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=name, digest=digest[:36], source_type="local", source=source)
        tags = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(self.run_id, [DatasetInput(dataset=dataset, tags=tags)])

    def end(self, status: str, at_ms: int | None = None) -> None:
        """Close the run as FINISHED, FAILED or KILLED; now, unless a moment is given."""
        self.client.set_terminated(self.run_id, status, at_ms)


def find_or_start(
    client: "MlflowClient",
    experiment: str,
    *,
    key: str,
    name: str,
    parent: str | None = None,
    tags: Mapping[str, str] | None = None,
    at_ms: int | None = None,
) -> TrackedRun:
    """The run tagged with `key`, going on, or a new one; with `tags`."""
    given = {"ltx2.key": key, **(tags or {})} | ({"mlflow.parentRunId": parent} if parent else {})
    hits = client.search_runs([experiment], f"tags.`ltx2.key` = '{key}'", max_results=1)
    if hits:
        run = TrackedRun(client, experiment, hits[0].info.run_id)
        client.update_run(run.run_id, status="RUNNING")
        run.tags(given)
        return run
    made = client.create_run(experiment, start_time=at_ms or now_ms(), run_name=name, tags=given)
    return TrackedRun(client, experiment, made.info.run_id)


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


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
