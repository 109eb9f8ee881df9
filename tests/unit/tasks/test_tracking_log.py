"""What MLflow misses is kept, told later, and told once; a run whose process is gone runs no more."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.server.processes import PROCESS, beginning, end_dead_runs
from ltx_core.process import ProcessRecord
from tasks.runtime.shared import TrackingConfig
from tasks.runtime.workspace import Workspace
from tasks.tracking.log import Entry, Kept, LoggedRun, TrackingLog, destination, kept_entries, kept_folder, tell_kept
from tasks.tracking.mlflow import connect

pytestmark = pytest.mark.whole

CONFIG = TrackingConfig()
KEY = "0123"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One database for all: making it takes seconds."""
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def log(place: Workspace) -> TrackingLog:
    client, experiment = connect(CONFIG, place)
    made = TrackingLog(client, experiment, CONFIG, place)
    made.say = pytest.fail
    return made


def test_everything_said_of_a_run_is_in_mlflow_when_the_log_is_closed(log: TrackingLog, tmp_path: Path) -> None:
    log.begin(beginning("whole", "a run"))
    log.start()
    parent, file = LoggedRun(log, "whole"), tmp_path / "note.txt"
    file.write_text("a file")
    parent.params({"train_lora": {"steps": 3}})
    log.add(beginning("whole/split", "split", parent="whole"))
    child = LoggedRun(log, "whole/split")
    child.metrics([("loss", 0.5, 1), ("loss", 0.25, 2)])
    child.artifacts([file, tmp_path / "gone.txt"], "notes")
    child.link(tmp_path / "mlflow.json")
    child.end("FINISHED")
    parent.runs({"ltx2.run.split": "whole/split"})
    parent.end("FINISHED")
    assert log.close() == 0
    found = _run(log, "whole/split")
    assert found.info.status == "FINISHED"
    assert [point.value for point in log.client.get_metric_history(found.info.run_id, "loss")] == [0.5, 0.25]
    assert [one.path for one in log.client.list_artifacts(found.info.run_id, "notes")] == ["notes/note.txt"]
    assert json.loads((tmp_path / "mlflow.json").read_text())["run_id"] == found.info.run_id
    above = _run(log, "whole")
    assert found.data.tags["mlflow.parentRunId"] == above.info.run_id == parent.run_id()
    assert above.data.tags["ltx2.run.split"] == found.info.run_id
    assert above.data.params["train_lora.steps"] == "3"


def test_what_an_earlier_run_could_not_say_is_said_though_a_kill_cut_its_last_line(
    log: TrackingLog, place: Workspace
) -> None:
    path = _kept(place, "late", Entry("late", "metrics", [["loss", 0.5, 1]], 5), Entry("late", "end", "FAILED", 9))
    with path.open("a") as file:
        file.write('12345678 {"run": "la')
    said: list[str] = []
    log.say = said.append
    tell_kept(log, CONFIG, place)
    run = _run(log, "late")
    assert (run.info.status, run.info.end_time, run.data.metrics) == ("FAILED", 9, {"loss": 0.5})
    assert said == ["sending MLflow what it missed of an earlier run (3 entries)"]
    assert not path.exists()


def test_saying_it_twice_changes_nothing(log: TrackingLog, place: Workspace) -> None:
    entries = (Entry("twice", "metrics", [["loss", 0.5, 1]], 5), Entry("twice", "params", {"a": "1"}, 5))
    log.say = lambda _message: None
    for _ in range(2):
        _kept(place, "twice", *entries)
        tell_kept(log, CONFIG, place)
    run = _run(log, "twice")
    assert len(log.client.get_metric_history(run.info.run_id, "loss")) == 1


def test_a_damaged_line_is_left_out_and_the_rest_is_said(log: TrackingLog, place: Workspace) -> None:
    path = _kept(place, "hurt", Entry("hurt", "tags", {"a": "1"}), Entry("hurt", "tags", {"b": "2"}))
    text = path.read_text()
    path.write_text(text.replace('"a": "1"', '"a": "7"'))
    log.say = lambda _message: None
    tell_kept(log, CONFIG, place)
    tags = _run(log, "hurt").data.tags
    assert "a" not in tags
    assert tags["b"] == "2"


def test_what_another_process_holds_or_is_for_another_mlflow_is_left_alone(log: TrackingLog, place: Workspace) -> None:
    kept_folder(place).mkdir(exist_ok=True)
    held = Kept.new(kept_folder(place) / "held.jsonl", destination(CONFIG))
    other = _kept(place, "other", Entry("other", "end", "FAILED"), where='["http://elsewhere", "mine"]')
    with kept_entries(held.path, destination(CONFIG)) as entries:
        assert entries == []
    tell_kept(log, CONFIG, place)
    assert other.exists()
    held.close(delete=True)
    other.unlink()


def test_runs_of_processes_that_are_gone_are_killed_parents_and_children(log: TrackingLog) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = ProcessRecord.own()
        dead = replace(started, pid=process.pid)
        process.kill()
    for key, record in (("mine", started), ("killed", dead), ("killed/split", dead), ("afar", replace(dead, host="x"))):
        begun = beginning(key, key)
        tags = begun.value["tags"] | {PROCESS: json.dumps(asdict(record)), "ltx2.host": record.host}
        log.tell(replace(begun, value=begun.value | {"tags": tags}))
    assert sorted(end_dead_runs(log.client, log.experiment)) == ["killed", "killed/split"]
    status = {key: _run(log, key).info.status for key in ("mine", "killed", "killed/split", "afar")}
    assert status == {"mine": "RUNNING", "killed": "KILLED", "killed/split": "KILLED", "afar": "RUNNING"}
    log.tell(beginning("killed", "killed"))
    assert _run(log, "killed").info.status == "RUNNING", "a retry goes on with its run"
    assert end_dead_runs(log.client, log.experiment) == []


def _run(log: TrackingLog, key: str) -> Run:
    client: MlflowClient = log.client
    (found,) = client.search_runs([log.experiment], f"tags.`ltx2.key` = '{key}'")
    return client.get_run(found.info.run_id)


def _kept(place: Workspace, key: str, *entries: Entry, where: str | None = None) -> Path:
    path = kept_folder(place) / f"{key}.jsonl"
    kept = Kept.new(path, where or destination(CONFIG))
    kept.write([beginning(key, key), *entries])
    kept.close(delete=False)
    return path
