"""A Prefect server of the tests' own: started on a free port, driven by its command line and its API."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

import psutil
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import Cancelling

from flows import NO_TELEMETRY
from flows.generated import STORE, prefect_yaml
from flows.server.services import Service, answers, start, wait_until
from tasks.runtime.fork_server import NAME
from tasks.runtime.ranks import free_port
from tests.connections import watched

PATIENCE = 400.0
"""Seconds until a test gives up: ten times what an idle machine takes, so that a busy one fails nothing."""
T = TypeVar("T")
REPOSITORY = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
QUIET = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3",
    "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    "DO_NOT_TRACK": "true",
    **{
        f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false"  # none is tested, and each asks the database for ever
        for name in ("CANCELLATION_CLEANUP", "FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "REPOSSESSOR")
    },
}


def wait_for(what: str, found: Callable[[], T | None], seconds: float = PATIENCE, *, pause: float = 0.1) -> T:
    """Ask until there is an answer, with a pause between; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, f"no {what} within {seconds:g} s"
        time.sleep(pause)
    return answer


def deployment_names() -> dict[str, str]:
    """Short name to Prefect's full name, flow and deployment."""
    return {d["name"]: f"{d['name']}/{d['name']}" for d in yaml.safe_load(prefect_yaml())["deployments"]}


@dataclass
class Lab:
    """A server, its folder, and the environment in which commands find it."""

    home: Path
    port: int = field(default_factory=free_port)
    config: Path | None = None
    """The configuration of runs that name none."""
    api: SyncPrefectClient = field(init=False)
    """A client, once the server answers."""
    servers: list[Service] = field(default_factory=list)
    """The running one, last; a test that kills it appends the next."""

    @property
    def url(self) -> str:
        """The API."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def watched(self) -> Path:
        """Where connections of the worker's runs are written down."""
        return self.home / "watched"

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to find this server, and no other."""
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        own = {"PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.url, "PREFECT_SERVER_API_PORT": str(self.port)}
        return {**QUIET, "PATH": path, **own}

    @contextmanager
    def settings(self) -> Iterator[None]:
        """This process finds this server too."""
        with temporary_settings({PREFECT_API_URL: self.url, PREFECT_HOME: self.home}):
            yield

    def start_server(self) -> Service:
        """Start it, as `ltx2-lora up` does; it takes a while to answer."""
        with self.settings():
            return start("server", [sys.executable, "-m", "flows.server.api_server"], self.environment)

    def wait_until_ready(self, server: Service) -> None:
        """Migrations of a new database are what takes so long."""
        wait_until(lambda: answers(f"{self.url}/health"), server, PATIENCE)
        with self.settings():
            self.api = get_client(sync_client=True)

    def start_worker(self) -> Service:
        """Start a worker, as `ltx2-lora up` does, in a user's environment; all that it runs is watched."""
        ours = {**self.environment, "LTX2_CONFIG": str(self.config), "PREFECT_PLUGINS_ENABLED": "0"}
        seen = {**watched({**os.environ, **ours}, self.watched), **NO_TELEMETRY}
        unwanted = [word for name in os.environ if name not in seen for word in ("-u", name)]
        with self.settings():
            return start("worker", ["env", *unwanted, "prefect", "worker", "start", "--pool", STORE], seen)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type a command in the project's folder."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def submit(self, deployment: str, environment: dict[str, str] | None = None, **parameters: Any) -> UUID:
        """Ask for a run, whose process has more in its environment."""
        found = self.api.read_deployment_by_name(deployment_names()[deployment])
        variables = {"env": environment or {}}
        return self.api.create_flow_run_from_deployment(found.id, parameters=parameters, job_variables=variables).id

    def run(self, run_id: UUID) -> FlowRun:
        """How the run stands."""
        return self.api.read_flow_run(run_id)

    def runs(self, flow: str) -> list[FlowRun]:
        """Every run of a flow."""
        return self.api.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])))

    def runs_with(self, config: Path) -> list[UUID]:
        """The pipeline's runs with a configuration, the first first."""
        runs = [run for run in self.runs("ltx2-lora") if run.parameters.get("config") == str(config)]
        return [run.id for run in sorted(runs, key=lambda run: str(run.created))]

    def wait(self, run_id: UUID, state: str) -> FlowRun:
        """Wait until the run ends; it must be in the state of that name.

        A run that ends otherwise fails the test with its message and the end of its log.
        """

        def ended() -> FlowRun | None:
            run = self.run(run_id)
            return run if run.state is not None and run.state.is_final() else None

        run = wait_for(f"end of run {run_id}", ended, pause=1.0)  # an answer takes the server 25 ms of a core
        assert run.state is not None
        assert run.state.name == state, f"{run.state.name}: {run.state.message}\n{self.log(run_id)}"
        return run

    def tasks(self, run_id: UUID) -> dict[str, str]:
        """Stage to the name of its task's state, in the order they ran."""
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        runs = self.api.read_task_runs(flow_run_filter=chosen)
        begun = sorted((run for run in runs if run.start_time), key=lambda run: str(run.start_time))
        return {run.name.rpartition("-")[0]: str(run.state.name) for run in begun if run.state}

    def log(self, run_id: UUID) -> str:
        """The run's log, a line a message."""
        entries = self.api.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])))
        return "\n".join(entry.message for entry in entries)

    def artifacts(self, run_id: UUID) -> dict[str, Any]:
        """Key to artifact of one run; of a key made again, the newest."""
        made = self.api.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id])), limit=200
        )
        return {artifact.key: artifact for artifact in sorted(made, key=lambda one: str(one.created)) if artifact.key}

    def cancel(self, run_id: UUID) -> None:
        """What `prefect flow-run cancel` does."""
        self.api.set_flow_run_state(run_id, Cancelling())


@dataclass(frozen=True)
class Up:
    """`ltx2-lora up` in a Prefect home of its own."""

    home: Path
    url: str
    mlflow_url: str
    process: "subprocess.Popen[bytes]"
    environment: dict[str, str]

    @property
    def said(self) -> str:
        """What it printed so far."""
        return (self.home / "said.txt").read_text()

    def type(self, *words: str, seconds: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
        """Type a command in another terminal."""
        return subprocess.run(
            [str(PROGRAMS / words[0]), *words[1:]],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )


@contextmanager
def started_up(config: Path, home: Path, more: Mapping[str, str] = MappingProxyType({})) -> Iterator[Up]:
    """`ltx2-lora up` on free ports, with `more` in its environment, once it says that all is there."""
    port, mlflow_port = str(free_port()), str(free_port())
    url = f"http://127.0.0.1:{port}/api"
    mine = {"PREFECT_HOME": str(home), "PREFECT_API_URL": url}
    environment = watched({**os.environ, **QUIET, **mine, **more}, home / "watched")
    words = [str(PROGRAMS / "ltx2-lora"), "up", "--config", str(config), "--mlflow-port", mlflow_port]
    with (home / "said.txt").open("wb") as out:
        process = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=out, stderr=subprocess.STDOUT)
    up = Up(home, url, f"http://127.0.0.1:{mlflow_port}", process, environment)
    try:
        wait_for("`up`", lambda: "run it" in up.said or process.poll() is not None)
        yield up
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)


def children(workspace: Path) -> list[psutil.Process]:
    """Processes of stages that work in a workspace."""
    found = psutil.process_iter(["name", "cmdline"])
    return [one for one in found if one.info["name"].startswith(NAME) and str(workspace) in (one.info["cmdline"] or [])]
