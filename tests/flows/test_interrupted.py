"""Training that is cancelled, or killed with its worker, and goes on; and another beside it."""

import json
import os
import re
import signal
import time
from dataclasses import dataclass
from uuid import UUID

import pytest
from mlflow import MlflowClient
from prefect.client.schemas.objects import FlowRun

from flows.prefect_run import crash_dead_runs
from flows.server.processes import records_folder
from flows.server.services import Service
from tests.flows.holding import FEW, holding
from tests.flows.lab import Lab, children, wait_for
from tests.flows.toy import TRAIN, Toy

LOWER_RATE = 1e-3
GONE_WITHIN = 15.0
MANY = {"train_lora.steps": 30, "train_lora.keep_checkpoints": 50}


@dataclass(frozen=True)
class Cancelled:
    """A long training that was cancelled."""

    toy: Toy
    """Where it trains."""
    run: UUID
    seconds_to_end: float
    last_step: int


@dataclass(frozen=True)
class Killed:
    """What was found after the kill."""

    seconds_to_end: float
    last_step: int
    state_before: str
    """The run's state before anybody looked after it."""
    marked: list[str]
    run: FlowRun


@pytest.fixture(scope="module")
def standing(lab: Lab, toy: Toy, finished: UUID, tmp_path_factory: pytest.TempPathFactory) -> tuple[Toy, UUID]:
    """A long training, which waits at a step, with whole checkpoints. So does it when it is retried."""
    assert finished
    mine, held = toy.variant("long", copied=True), holding(tmp_path_factory.mktemp("long"), FEW)
    before = set(mine.whole_checkpoints())
    run = lab.submit("stage-train_lora", held, config=str(mine.config), overrides=MANY)
    wait_for("checkpoint", lambda: set(mine.whole_checkpoints()) - before)
    return mine, run


@pytest.fixture(scope="module")
def beside(lab: Lab, standing: tuple[Toy, UUID]) -> UUID:
    """Another training, which has ended while that one waited."""
    other = lab.submit("stage-train_lora", overrides={"train_lora.learning_rate": LOWER_RATE})
    lab.wait(other, "Completed")
    assert str(lab.run(standing[1]).state_name) == "Running"
    return other


@pytest.fixture(scope="module")
def cancelled(lab: Lab, standing: tuple[Toy, UUID]) -> Cancelled:
    """The long one."""
    mine, run = standing
    lab.cancel(run)
    seconds = _seconds_until_gone(mine)
    lab.wait(run, "Cancelled")
    return Cancelled(mine, run, seconds, _last_step(mine))


@pytest.fixture(scope="module")
def retried(lab: Lab, cancelled: Cancelled) -> int:
    """The cancelled run, retried; the step it went on from."""
    typed = lab.command("prefect", "flow-run", "retry", str(cancelled.run))
    assert typed.returncode == 0, typed.stdout + typed.stderr
    return _went_on(cancelled.toy, times=1)


@pytest.fixture(scope="module")
def killed(lab: Lab, cancelled: Cancelled, retried: int, workers: list[Service]) -> Killed:
    """Worker and flow process killed while it trains, and what `up` does about it."""
    wait_for("more steps", lambda: _last_step(cancelled.toy) > retried)
    with lab.settings():
        record = json.loads((records_folder() / f"{cancelled.run}.json").read_text())
    for pid in (workers[-1].process.pid, record["pid"]):
        os.kill(pid, signal.SIGKILL)
    seconds = _seconds_until_gone(cancelled.toy)
    step, stuck = _last_step(cancelled.toy), lab.run(cancelled.run).state
    assert stuck is not None
    with lab.settings():
        marked = wait_for("run to mark", lambda: crash_dead_runs(lab.api), 20)  # `up` looks every few seconds
    workers.append(lab.start_worker())
    return Killed(seconds, step, str(stuck.name), marked, lab.run(cancelled.run))


@pytest.mark.extra
def test_a_stages_deployment_runs_that_stage_alone(lab: Lab, toy: Toy, beside: UUID) -> None:
    """On the CPU it waits for no GPU: it ended while another training stood still."""
    assert lab.tasks(beside) == {"train_lora": "Built"}
    assert list(toy.made(lab.run(beside).name)) == ["train_lora"]


@pytest.mark.extra
def test_runs_of_two_learning_rates_can_be_compared(mlflow: MlflowClient, finished: UUID, beside: UUID) -> None:
    curves = {}
    for run_id in (finished, beside):
        (run,) = mlflow.search_runs(["1"], f"tags.`ltx2.key` = '{run_id}/train_lora'")
        points = mlflow.get_metric_history(run.info.run_id, "loss")
        curves[float(run.data.params["learning_rate"])] = {point.step: point.value for point in points}
    high, low = curves[0.005], curves[LOWER_RATE]
    assert sorted(high) == sorted(low) == list(range(1, TRAIN["steps"] + 1))
    assert high[1] == low[1]
    assert high[TRAIN["steps"]] != low[TRAIN["steps"]]


def test_cancelling_ends_the_training_and_keeps_a_whole_checkpoint(cancelled: Cancelled) -> None:
    assert cancelled.seconds_to_end < GONE_WITHIN
    assert cancelled.last_step >= 2


def test_the_task_of_a_cancelled_run_is_cancelled_too(lab: Lab, cancelled: Cancelled) -> None:
    """And of a stage's deployment it is the only one."""
    assert lab.tasks(cancelled.run) == {"train_lora": "Cancelled"}


def test_a_retried_run_goes_on_where_it_was_cancelled(cancelled: Cancelled, retried: int) -> None:
    assert retried == cancelled.last_step


def test_a_child_does_not_outlive_worker_and_flow(killed: Killed) -> None:
    assert killed.seconds_to_end < GONE_WITHIN


def test_a_run_whose_processes_were_killed_is_marked_crashed(killed: Killed) -> None:
    assert killed.state_before == "Running"
    assert killed.marked == [killed.run.name]
    assert killed.run.state_name == "Crashed"


@pytest.mark.extra
def test_a_crashed_run_can_be_retried_and_cancelled_again(lab: Lab, cancelled: Cancelled, killed: Killed) -> None:
    typed = lab.command("prefect", "flow-run", "retry", str(cancelled.run))
    assert typed.returncode == 0, typed.stdout + typed.stderr
    assert _went_on(cancelled.toy, times=2) == killed.last_step
    lab.cancel(cancelled.run)
    assert _seconds_until_gone(cancelled.toy) < GONE_WITHIN
    lab.wait(cancelled.run, "Cancelled")
    assert _last_step(cancelled.toy) >= killed.last_step


def _went_on(toy: Toy, *, times: int) -> int:
    """Wait until training went on that often; the step it went on from last."""
    said = re.compile(r"going on from step (\d+) of 30")
    steps = wait_for(
        "resumed training", lambda: found if len(found := said.findall(toy.log("train_lora"))) >= times else None, 120
    )
    return int(steps[-1])


def _last_step(toy: Toy) -> int:
    """Of the newest whole checkpoint."""
    return max(int(folder.name.removeprefix("step-")) for folder in toy.whole_checkpoints())


def _seconds_until_gone(toy: Toy) -> float:
    asked = time.monotonic()
    wait_for("end of the training's process", lambda: not children(toy.workspace))
    return time.monotonic() - asked
