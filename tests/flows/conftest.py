"""One miniature, one server with a worker and a finished run, one bare server: shared by the tests of this folder, and
ended with it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from mlflow import MlflowClient
from rich.console import Console

from flows.server.services import Service
from flows.server.supervise import FORMER_GPU_LIMIT, deploy_all, set_up
from tests.flows.lab import Lab
from tests.flows.toy import Toy, prepare, prepared_in, toy_in, write_toy

WriteOnce = Callable[[str, Callable[[Path], object]], Path]
SECONDS = 1200
"""Of one test: the first one waits for the server, and for the whole pipeline."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="package")
def starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server that was started; while its database is made, other things can be prepared."""
    yield from _started(tmp_path_factory.mktemp("prefect"))


@pytest.fixture(scope="package")
def starting_bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The same for `bare`."""
    yield from _started(tmp_path_factory.mktemp("bare"))


def _started(home: Path) -> Iterator[Lab]:
    lab = Lab(home)
    lab.servers.append(lab.start_server())
    yield lab
    for server in lab.servers:
        server.end()


@pytest.fixture(scope="session")
def toy(written_once: WriteOnce) -> Toy:
    """The shrunken miniature, of all test processes; its workspace is of the runs on the server."""
    return toy_in(written_once("toy", write_toy))


@pytest.fixture(scope="session")
def prepared(toy: Toy, written_once: WriteOnce) -> Toy:
    """The toy without prompts, and a workspace with the stages before training. Take copies of it."""
    written_once("toy-prepared", lambda _: prepare(toy))
    return prepared_in(toy)


@pytest.fixture(scope="package")
def lab(starting: Lab, toy: Toy) -> Lab:
    """A server with work pool and deployments, and the GPU limit of earlier versions, whose holder is long dead."""
    lab = starting
    lab.config = toy.config
    lab.wait_until_ready(lab.servers[-1])
    with lab.settings():
        set_up(Console(quiet=True))
        deploy_all(lab.environment)
        lab.api.upsert_global_concurrency_limit_by_name(FORMER_GPU_LIMIT, limit=1)
        lab.api.increment_concurrency_slots([FORMER_GPU_LIMIT], 1, "concurrency")
    return lab


@pytest.fixture(scope="package")
def bare(starting_bare: Lab, prepared: Toy) -> Lab:
    """A server without deployments or worker, for runs that are typed; a test may kill it and start it again."""
    assert prepared
    starting_bare.wait_until_ready(starting_bare.servers[-1])
    return starting_bare


@pytest.fixture(scope="package")
def workers(lab: Lab) -> Iterator[list[Service]]:
    """The running worker, last; a test that kills it appends the next."""
    running = [lab.start_worker()]
    yield running
    for worker in running:
        worker.end()


@pytest.fixture(scope="package")
def finished(lab: Lab, workers: list[Service]) -> UUID:
    """The run that `prefect deployment run ltx2-lora`, typed so, started; it has ended well."""
    typed = lab.command("prefect", "deployment", "run", "ltx2-lora")
    assert typed.returncode == 0, typed.stdout + typed.stderr
    run_id = UUID(re.findall(r"UUID: ([0-9a-f-]{36})", typed.stdout)[0])
    lab.wait(run_id, "Completed")
    return run_id


@pytest.fixture(scope="session")
def mlflow(toy: Toy) -> MlflowClient:
    """The toy's tracking database."""
    return MlflowClient(tracking_uri=f"sqlite:///{toy.workspace / 'mlflow.db'}")
