"""`ltx2-lora run` while Prefect's server runs: what it says of a full disk, of stops, and when the server dies.

What it says of a user's error: test_server.py.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from mlflow import MlflowClient

from tests.flows.holding import FEW, holding, release
from tests.flows.lab import Lab, wait_for
from tests.flows.terminal import OURS, Ended, Terminal, ended
from tests.flows.toy import Toy
from tests.stages.small_disk import fill, mounted

pytestmark = pytest.mark.extra
STEPS = 12
KEPT = "interrupted; what was finished is kept, run again to go on"


@pytest.fixture(scope="module")
def terminal(bare: Lab, tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A folder to type in, in which the server is known."""
    folder = tmp_path_factory.mktemp("under")
    return Terminal(folder, folder / "home", PREFECT_API_URL=bare.url)


@dataclass(frozen=True)
class Stopped:
    """A training that was begun twice, and stopped by SIGTERM, then by ctrl-C."""

    toy: Toy
    by_number: dict[signal.Signals, Ended]
    runs: list[UUID]
    """In Prefect, in that order."""


@pytest.fixture(scope="module")
def stopped(bare: Lab, prepared: Toy, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    mine = prepared.variant("stopped", copied=True, train_lora={"steps": STEPS})
    folder = tmp_path_factory.mktemp("stopped")
    terminal = Terminal(folder, folder / "home", PREFECT_API_URL=bare.url, **holding(folder, FEW))
    by_number: dict[signal.Signals, Ended] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        before = mine.whole_checkpoints()
        process = terminal.start("run", str(mine.config), "--only", "train_lora")
        _wait_for_checkpoint(mine, before, process)
        asked = time.monotonic()
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        by_number[number] = ended(process, asked)
    return Stopped(mine, by_number, bare.runs_with(mine.config))


def test_a_full_disk_is_one_message(terminal: Terminal, toy: Toy, tmp_path: Path) -> None:
    with mounted(tmp_path, mib=1) as disk:
        fill(disk / "ballast", leave=0)
        said = terminal.type("run", str(toy.config), "--set", f"workspace={disk / 'workspace'}")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("StorageError: "), said.err
    assert "full" in said.err.splitlines()[-1]
    assert "Traceback" not in said.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_ends_soon_with_its_code_and_message(stopped: Stopped, number: signal.Signals, code: int) -> None:
    said = stopped.by_number[number]
    assert said.code == code, said.err
    assert said.err.splitlines()[-1] == KEPT
    assert all(OURS.fullmatch(line) for line in said.err.splitlines()), said.err
    assert said.seconds < 120  # 2 on an idle machine, which this one need not be


def test_a_stopped_run_is_cancelled_in_prefect_and_killed_in_mlflow(bare: Lab, stopped: Stopped) -> None:
    assert [bare.run(run).state_name for run in stopped.runs] == ["Cancelled", "Cancelled"]
    assert [bare.tasks(run) for run in stopped.runs] == [{"train_lora": "Cancelled"}] * 2
    client = MlflowClient(tracking_uri=f"sqlite:///{stopped.toy.workspace / 'mlflow.db'}")
    keys = [f"tags.`ltx2.key` = '{key}'" for run in stopped.runs for key in (run, f"{run}/train_lora")]
    found = [client.search_runs(["1"], key) for key in keys]
    assert [[run.info.status for run in runs] for runs in found] == [["KILLED"]] * 4


@dataclass(frozen=True)
class Alone:
    """A training whose Prefect server was killed, and the same again with a server."""

    toy: Toy
    alone: Ended
    again: Ended


@pytest.fixture(scope="module")
def alone(
    bare: Lab, terminal: Terminal, prepared: Toy, stopped: Stopped, tmp_path_factory: pytest.TempPathFactory
) -> Alone:
    assert stopped
    mine, folder = prepared.variant("alone", copied=True, train_lora={"steps": STEPS}), tmp_path_factory.mktemp("alone")
    command = ("run", str(mine.config), "--only", "train_lora")
    process = Terminal(folder, folder / "home", PREFECT_API_URL=bare.url, **holding(folder, FEW)).start(*command)
    _wait_for_checkpoint(mine, [], process)
    bare.servers[-1].process.kill()
    bare.servers[-1].process.wait()
    release(folder, FEW)
    first = ended(process, time.monotonic())
    bare.servers.append(bare.start_server())
    bare.wait_until_ready(bare.servers[-1])
    return Alone(mine, first, terminal.type(*command))


def test_a_run_outlasts_its_server(alone: Alone) -> None:
    """The LoRA is made, and MLflow has all of it; the run ends in one message of ours, or as if nothing had been."""
    said = alone.alone
    assert "Traceback" not in said.err
    assert all(OURS.fullmatch(line) or "│" in line for line in said.err.splitlines()), said.err
    assert "Prefect: Prefect's server answers no more" in said.err
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("TransientError: Prefect's server at "), said.err
    assert list((alone.toy.workspace / "stages" / "train_lora").glob("*/manifest.parquet"))
    client = MlflowClient(tracking_uri=f"sqlite:///{alone.toy.workspace / 'mlflow.db'}")
    (trained,) = client.search_runs(["1"], "attributes.run_name = 'train_lora'", order_by=["start_time DESC"])[:1]
    assert trained.info.status == "FINISHED"
    loss = client.get_metric_history(trained.info.run_id, "loss")
    assert sorted(point.step for point in loss) == list(range(1, STEPS + 1))


def test_the_next_run_works(alone: Alone) -> None:
    assert alone.again.code == 0, alone.again.err
    assert alone.again.err.startswith("nothing to do: train_lora are up to date")


def _wait_for_checkpoint(toy: Toy, before: list[Path], process: "subprocess.Popen[str]") -> None:
    wait_for("checkpoint", lambda: set(toy.whole_checkpoints()) - set(before) or process.poll() is not None)
