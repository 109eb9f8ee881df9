"""`ltx2-lora run` with no Prefect server."""

import os
import pty
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.config import load_config
from flows.plan import required_manifest
from ltx_core.io.lock import folder_lock
from ltx_core.progress import SILENT
from tasks import stage_named
from tests.flows.lab import PATIENCE
from tests.flows.terminal import STEPS, Killed, Played, Terminal, kill, play
from tests.flows.toy import Toy
from tests.wandb_records import kept_runs


@pytest.fixture(scope="module")
def played(prepared: Toy, tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(prepared, tmp_path_factory.mktemp("terminal"))


@pytest.fixture(scope="module")
def killed(prepared: Toy, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return kill(prepared, tmp_path_factory.mktemp("killed"))


def test_ctrl_c_ends_with_130_and_leaves_a_whole_checkpoint(played: Played) -> None:
    ended = played.interrupted
    assert ended.code == 130, ended.err
    assert ended.err.splitlines()[-1] == "interrupted; what was finished is kept, run again to go on"
    assert "Traceback" not in ended.err
    assert ended.seconds < 30
    assert played.whole_checkpoints


def test_the_next_call_goes_on_from_the_checkpoint_though_the_configured_server_is_down(played: Played) -> None:
    ended = played.resumed
    assert ended.code == 0, ended.err
    last = int(played.whole_checkpoints[-1].name.removeprefix("step-"))
    assert f"going on from step {last} of {STEPS}" in played.toy.log("train_lora")
    assert "no Prefect server answers" in ended.err


@pytest.mark.extra
def test_a_run_after_one_that_was_killed_starts_its_stage_soon_and_goes_on(killed: Killed) -> None:
    assert killed.seconds_to_stage < 60  # 10 on an idle machine, which this one need not be
    assert killed.resumed.code == 0, killed.resumed.err
    assert "going on from step" in killed.toy.log("train_lora")


def test_from_covers_that_stage_and_all_later_ones(played: Played) -> None:
    rows = [line for line in played.resumed.err.splitlines() if "│" in line]
    assert [row.split()[1:4:2] for row in rows] == [
        ["train_lora", "Built"],
        ["render_validation", "Built"],
        ["register", "Built"],
    ]
    (lora,) = played.toy.workspace.glob("stages/train_lora/*/lora.safetensors")
    assert f"LoRA         {lora} (" in played.resumed.err, "the result comes first"
    assert played.resumed.err.index("LoRA  ") < played.resumed.err.index("│")
    report = Path(played.resumed.err.rpartition("report: ")[2].strip())
    assert "train_lora" in report.read_text()
    assert report.is_relative_to(played.toy.workspace / "runs")


def test_a_second_call_has_nothing_to_do_and_says_so_soon(played: Played) -> None:
    assert played.again.code == 0, played.again.err
    assert played.again.err.startswith("nothing to do: probe, split,")
    assert played.again.seconds < 15


def test_only_covers_one_stage(played: Played, tmp_path: Path) -> None:
    ended = Terminal(tmp_path, tmp_path / "home").type("run", str(played.toy.config), "--only", "split")
    assert ended.code == 0, ended.err
    assert ended.err.startswith("nothing to do: split are up to date")


def test_a_wrong_option_is_one_message_and_exit_code_1(toy: Toy, tmp_path: Path) -> None:
    wrong = toy.variant("wrong", train_lora={"stepz": 3})
    ended = Terminal(tmp_path, tmp_path / "home").type("run", str(wrong.config))
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err == (f"ConfigError: {wrong.config}: unknown option 'train_lora.stepz'; did you mean 'steps'?\n")


def test_in_mlflow_the_interrupted_run_runs_no_more(played: Played) -> None:
    assert _states(played.toy) == [["KILLED", "FINISHED"]] * 2


@pytest.mark.extra
def test_nor_does_the_killed_one(killed: Killed) -> None:
    assert _states(killed.toy) == [["KILLED", "FINISHED"]] * 2


def _states(toy: Toy) -> list[list[str]]:
    """In MLflow, of the runs and of their trainings, the first first."""
    client = MlflowClient(tracking_uri=f"sqlite:///{toy.workspace / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'ltx2-lora'")
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    parents = [run.info.status for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return [parents, [run.info.status for run in runs if run.info.run_name == "train_lora"]]


def test_weights_and_biases_has_the_metrics_too(played: Played) -> None:
    """Of the run that was interrupted, and of the one that went on."""
    first, *_, second = kept_runs(played.toy.workspace)
    steps = [[row["train_lora/step"] for row in run.history if "train_lora/loss" in row] for run in (first, second)]
    assert steps[0] == list(range(1, steps[0][-1] + 1))
    assert steps[1] == list(range(steps[1][0], STEPS + 1))
    assert steps[1][0] > steps[0][-1]
    assert second.summary["train_lora/state"] == "Built"
    assert second.summary["train_lora/steps"] == STEPS


@pytest.mark.parametrize(
    ("how", "code"), [pytest.param("ctrl-C", 130, marks=pytest.mark.extra), ("closed terminal", 129)]
)
def test_a_run_that_waits_for_a_folder_ends_at_once(played: Played, tmp_path: Path, how: str, code: int) -> None:
    """At a terminal that sends the signals itself: typed keys, and its end."""
    folder = required_manifest(stage_named("probe"), load_config(played.toy.config, {}).place()).path.parent
    ours, theirs = pty.openpty()
    with folder_lock(folder, SILENT, "testing"):
        terminal = Terminal(tmp_path, tmp_path / "home")
        process = terminal.start_at(theirs, "run", str(played.toy.config), "--only", "probe", "--force")
        os.close(theirs)
        shown = _read(ours, until=b"waiting for")
        asked = time.monotonic()
        if how == "ctrl-C":
            os.write(ours, b"\x03")
            shown += _read(ours)
        os.close(ours)
        assert process.wait(PATIENCE) == code
    assert time.monotonic() - asked < 120  # 1 on an idle machine
    assert b"Traceback" not in shown
    assert how != "ctrl-C" or b"interrupted; what was finished is kept, run again to go on" in shown


def _read(terminal: int, until: bytes | None = None) -> bytes:
    """What a terminal shows, until something is there, or until nobody writes to it any more."""
    shown = b""
    try:
        while until is None or until not in shown:
            shown += os.read(terminal, 4096)
    except OSError:  # its last writer has ended
        assert until is None, shown
    return shown
