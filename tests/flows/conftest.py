"""One server, one worker, one miniature, one finished run: shared by every test of this folder, and ended with it."""

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
from tests.flows.toy import Toy, toy_in, write_toy

WriteOnce = Callable[[str, Callable[[Path], object]], Path]
SECONDS = 1200
"""Of one test: the first one waits for the server, and for the whole pipeline."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="package")
def starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Service]]:
    """A server that was started; while its database is made, other things can be prepared."""
    lab = Lab(tmp_path_factory.mktemp("prefect"))
    lab.servers.append(lab.start_server())
    yield lab, lab.servers[0]
    for server in lab.servers:
        server.end()


@pytest.fixture(scope="session")
def toy(written_once: WriteOnce) -> Toy:
    """The shrunken miniature, of all test processes; its workspace is of the runs on the server."""
    return toy_in(written_once("toy", write_toy))


@pytest.fixture(scope="package")
def lab(starting: tuple[Lab, Service], toy: Toy) -> Lab:
    """A server with work pool and deployments, and the GPU limit of earlier versions, whose holder is long dead."""
    lab, server = starting
    lab.config = toy.config
    lab.wait_until_ready(server)
    with lab.settings():
        set_up(Console(quiet=True))
        deploy_all(lab.environment)
        lab.api.upsert_global_concurrency_limit_by_name(FORMER_GPU_LIMIT, limit=1)
        lab.api.increment_concurrency_slots([FORMER_GPU_LIMIT], 1, "concurrency")
    return lab


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
