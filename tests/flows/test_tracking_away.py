"""A real MLflow server, killed while a LoRA is trained, which comes back; and the password that is in its address."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.server.services import answers
from tasks.runtime.ranks import free_port
from tests.flows.holding import FEW, holding, release
from tests.flows.lab import Lab, wait_for
from tests.flows.terminal import Ended, Terminal, ended
from tests.flows.toy import Toy

pytestmark = pytest.mark.extra
STEPS, LATER = 12, 8
"""Of the training, and how many of them it takes until it waits for the server to be back."""
PASSWORD = "hunter2-of-the-address"
SECRETS = {
    "HF_TOKEN": "hf_secretOfTheHub",
    "WANDB_API_KEY": "f" * 39 + "a",
    "MLFLOW_TRACKING_TOKEN": "tokenOfTheTracking",
}
"""In the shell of the run; and the password, which is in the configuration."""


@dataclass
class Server:
    """MLflow's own server, on its own port and database."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        place = ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}", "--workers", "1"]
        place += ["--artifacts-destination", str(self.folder / "artifacts"), "--port", str(self.port)]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *place],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for("MLflow", lambda: answers(f"{self.url}/health"))

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class Played:
    """What the run said, and the workspace it left."""

    toy: Toy
    nobody: Ended
    """Before the server was there."""
    ran: Ended
    server: Server
    folder: Path
    lab: Lab
    """Prefect's server, which shows the run."""


@pytest.fixture(scope="module")
def played(bare: Lab, prepared: Toy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Killed at the first checkpoint, started again once something was kept for it; the training waits meanwhile."""
    folder = tmp_path_factory.mktemp("away")
    server = Server(folder, free_port())
    uri = f"http://ann:{PASSWORD}@127.0.0.1:{server.port}"
    mine = prepared.variant("away", copied=True, train_lora={"steps": STEPS}, tracking={"uri": uri})
    nobody = Terminal(folder, folder / "home", **SECRETS).type("run", str(mine.config))
    server.start()
    held = holding(folder / "held", FEW, LATER)
    shown = Terminal(folder, folder / "home", PREFECT_API_URL=bare.url, **SECRETS, **held)
    process = shown.start("run", str(mine.config), "--set", f"tracking.uri={uri}")
    wait_for("checkpoint", lambda: mine.whole_checkpoints() or process.poll() is not None)
    server.kill()
    release(folder / "held", FEW)
    wait_for("kept entries", lambda: list((mine.workspace / "tracking").glob("*")) or process.poll() is not None)
    server.start()
    release(folder / "held", LATER)
    yield Played(mine, nobody, ended(process, time.monotonic()), server, folder, bare)
    server.kill()


def test_a_server_that_is_away_at_the_start_is_one_message_soon(played: Played) -> None:
    assert played.nobody.code == 1
    (said,) = [line for line in played.nobody.err.splitlines() if line]
    assert said.startswith(f"TransientError: MLflow at {played.server.url} does not answer, or refuses (")
    assert "--set tracking.uri=null" in said
    assert played.nobody.seconds < 60  # 5 s of them are for the server; the others are imports


def test_training_goes_on_without_it_and_says_so_once(played: Played) -> None:
    assert played.ran.code == 0, played.ran.err
    assert played.ran.err.count("The run goes on; what MLflow misses is kept in") == 1
    assert played.ran.err.count("MLflow is back; what it missed is being sent") == 1
    assert "Traceback" not in played.ran.err + played.ran.out


def test_nothing_is_missing_in_mlflow(played: Played) -> None:
    client = MlflowClient(tracking_uri=played.server.url)
    (experiment,) = client.search_experiments(filter_string="name = 'ltx2-lora'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    losses = client.get_metric_history(runs["train_lora"].info.run_id, "loss")
    assert sorted(point.step for point in losses) == list(range(1, STEPS + 1))
    assert list((played.toy.workspace / "tracking").glob("*")) == []


def test_no_secret_is_in_any_file_database_or_output(played: Played) -> None:
    """Of the workspace, MLflow's server, Prefect's server with its database and logs; the configuration alone has what
    the user wrote into it."""
    (run,) = [run for run in played.lab.runs("ltx2-lora") if run.parameters.get("config") == str(played.toy.config)]
    assert "tracking.uri" in run.parameters["overrides"]
    assert "MLflow is back" in played.lab.log(run.id)
    secrets = [secret.encode() for secret in (PASSWORD, *SECRETS.values())]
    said = "".join(one.out + one.err for one in (played.nobody, played.ran)).encode()
    assert not [secret for secret in secrets if secret in said]
    places = (played.toy.workspace, played.folder, played.lab.home)
    files = [file for place in places for file in place.rglob("*") if file.is_file()]
    assert played.lab.home / "prefect.db" in files
    assert len(files) > 50
    assert not [file for file in files for secret in secrets if secret in file.read_bytes()]
