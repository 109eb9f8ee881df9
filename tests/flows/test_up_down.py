"""`ltx2-lora up` and `down`, typed: everything is there, and then nothing is left."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.generated import STORE
from flows.server.services import answers, up_record
from tests.connections import asked_for, leaving
from tests.flows.lab import PATIENCE, Up, deployment_names, started_up, wait_for
from tests.flows.toy import Toy


@pytest.fixture(scope="module")
def up(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Started, and everything said to be there."""
    with started_up(toy.variant("up").config, tmp_path_factory.mktemp("up")) as started:
        yield started


def test_everything_is_there(up: Up) -> None:
    assert up.process.poll() is None, up.said
    assert answers(f"{up.url}/health")
    assert answers(f"{up.mlflow_url}/health")
    assert httpx.get(f"{up.url}/health").headers["content-security-policy"].startswith("connect-src 'self' http://127.")
    with temporary_settings({PREFECT_API_URL: up.url}), get_client(sync_client=True) as client:
        assert {one.name for one in client.read_deployments()} == deployment_names().keys()

        def online() -> list[Any]:
            return client.request("POST", "/work_pools/{name}/workers/filter", path_params={"name": STORE}).json()

        assert [worker["status"] for worker in wait_for("worker", online)] == ["ONLINE"]


def test_a_run_that_is_typed_finds_its_mlflow_whatever_the_port(up: Up) -> None:
    with temporary_settings({PREFECT_HOME: up.home}):
        found = up_record()
    assert found is not None
    assert found.mlflow_url == up.mlflow_url


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 200), ({"Origin": "http://evil.example"}, 403), ({"Host": "evil.example"}, 400)],
)
def test_prefect_s_api_answers_its_own_pages_and_programs_alone(up: Up, headers: dict[str, str], status: int) -> None:
    asked = httpx.post(f"{up.url}/deployments/filter", json={}, headers=headers)
    assert asked.status_code == status
    assert "access-control-allow-origin" not in asked.headers


@pytest.mark.parametrize("headers", [{"Host": "10.evil.example"}, {"Origin": "http://evil.example"}])
def test_so_does_mlflow_s_ui(up: Up, headers: dict[str, str]) -> None:
    asked = f"{up.mlflow_url}/ajax-api/2.0/mlflow/experiments/search"
    assert httpx.post(asked, json={"max_results": 1}).status_code == 200
    assert httpx.post(asked, json={"max_results": 1}, headers=headers).status_code == 403


def test_nothing_leaves_this_machine(up: Up) -> None:
    """Server, worker and MLflow's UI, all in a user's environment."""
    assert asked_for(up.home / "watched")
    assert leaving(up.home / "watched") == []


def test_a_second_up_is_refused(up: Up) -> None:
    again = up.type("ltx2-lora", "up", "--mlflow-port", "1")
    assert again.returncode == 1
    assert f"`ltx2-lora up` runs already (process {up.process.pid}); `ltx2-lora down` ends it" in again.stderr


def test_down_ends_all_of_it(up: Up) -> None:
    before = time.monotonic()
    down = up.type("ltx2-lora", "down")
    assert (down.returncode, down.stdout.strip()) == (0, "ended"), down.stderr
    assert time.monotonic() - before < 60
    assert up.process.wait(PATIENCE) == 0
    assert [line for line in up.said.splitlines() if line.endswith(" ended")] == [
        "worker ended",
        "server ended",
        "mlflow ended",
    ]
    assert not answers(f"{up.url}/health")
    assert not answers(f"{up.mlflow_url}/health")
    assert up.type("ltx2-lora", "down").stdout.startswith("nothing to end: `ltx2-lora up` is not running")
