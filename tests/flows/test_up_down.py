"""`ltx2-lora up` and `down`, typed: everything is there, and then nothing is left."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.generated import STORE, deployment_names
from flows.server.answers import answers
from tests.connections import asked_for, leaving, watched
from tests.flows.lab import PATIENCE, PROGRAMS, QUIET, REPOSITORY, free_port, wait_for
from tests.flows.toy import Toy


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

    def type(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Type a command in another terminal."""
        return subprocess.run(
            [str(PROGRAMS / words[0]), *words[1:]],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )


@pytest.fixture(scope="module")
def up(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Started, and everything said to be there."""
    home, port, mlflow_port = tmp_path_factory.mktemp("up"), str(free_port()), str(free_port())
    url = f"http://127.0.0.1:{port}/api"
    mine = {"PREFECT_HOME": str(home), "PREFECT_API_URL": url, "PREFECT_SERVER_API_PORT": port}
    environment = watched({**os.environ, **QUIET, **mine}, home / "watched")
    words = [str(PROGRAMS / "ltx2-lora"), "up", "--config", str(toy.variant("up").config), "--mlflow-port", mlflow_port]
    with (home / "said.txt").open("wb") as out:
        process = subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=out, stderr=subprocess.STDOUT)
    started = Up(home, url, f"http://127.0.0.1:{mlflow_port}", process, environment)
    wait_for("`up`", lambda: "run it" in started.said or process.poll() is not None)
    yield started
    if process.poll() is None:
        process.terminate()
        process.wait(PATIENCE)


def test_everything_is_there(up: Up) -> None:
    assert up.process.poll() is None, up.said
    assert answers(f"{up.url}/health")
    assert answers(f"{up.mlflow_url}/health")
    with temporary_settings({PREFECT_API_URL: up.url}), get_client(sync_client=True) as client:
        assert {one.name for one in client.read_deployments()} == deployment_names().keys()

        def online() -> list[Any]:
            return client.request("POST", "/work_pools/{name}/workers/filter", path_params={"name": STORE}).json()

        assert [worker["status"] for worker in wait_for("worker", online)] == ["ONLINE"]


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
