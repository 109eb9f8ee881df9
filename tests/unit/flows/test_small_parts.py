"""Addresses, parameters, processes, the miniature's configuration, and the command line's own refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.utilities.callables import parameter_schema

from flows import flows as stage_flows
from flows.cli.app import main
from flows.config import RunConfig, load_config
from flows.flows import ltx2_lora, resolve, retrain
from flows.generated import prefect_yaml
from flows.run import run_address
from flows.server.processes import dead_runs, forget, has_children, recorded_process, records_folder
from flows.tiny_config import write_config
from ltx_core.errors import ConfigError
from ltx_core.process import ProcessRecord
from ltx_core.tiny.model import Miniature
from tasks import STAGES
from tasks.tracking.mlflow import flatten
from tests.flows.lab import deployment_names
from tests.unit.flows.conftest import Write

RUN: Any = SimpleNamespace(experiment="1", run_id="abc")


@pytest.mark.parametrize(
    ("uri", "ui", "address"),
    [
        (None, None, "http://127.0.0.1:5000/#/experiments/1/runs/abc?workflowType=machine_learning"),
        (
            None,
            "http://127.0.0.1:5055/",
            "http://127.0.0.1:5055/#/experiments/1/runs/abc?workflowType=machine_learning",
        ),
        (
            "https://mlflow.example/",
            "http://x",
            "https://mlflow.example/#/experiments/1/runs/abc?workflowType=machine_learning",
        ),
        (
            "sqlite:////data/m.db",
            "http://127.0.0.1:5055",
            "http://127.0.0.1:5055/#/experiments/1/runs/abc?workflowType=machine_learning",
        ),
    ],
)
def test_where_mlflow_shows_a_run(
    write: Write, monkeypatch: pytest.MonkeyPatch, uri: str | None, ui: str | None, address: str
) -> None:
    if ui:
        monkeypatch.setenv("LTX2_MLFLOW_UI", ui)
    assert run_address(load_config(write(tracking={"uri": uri}), {}), RUN) == address


def test_a_run_takes_the_file_given_then_the_variable_then_the_project(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, named = write("given.yaml", workspace="given"), write("named.yaml", workspace="named")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no configuration was given and there is no ltx2-lora\.yaml"):
        resolve(None, {})
    write("ltx2-lora.yaml", workspace="own")
    assert resolve(None, {}).workspace == tmp_path / "own"
    monkeypatch.setenv("LTX2_CONFIG", str(named))
    assert resolve(None, {}).workspace == tmp_path / "named"
    assert resolve(str(given), {"train_lora.steps": 7}).workspace == tmp_path / "given"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"train_lora": {"stepz": 3}}, r"config: .*\n.*unknown option 'train_lora\.stepz'; did you mean 'steps'\?"),
        (["a"], r"the parameter config is \['a'\]; give the path"),
    ],
)
def test_a_wrong_parameter_is_told_in_our_words(config: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){told}"):
        resolve(config, {})


@pytest.mark.parametrize("name", ["ltx2_lora", "retrain", "stage_probe"])
def test_the_form_of_a_run_shows_every_section(name: str) -> None:
    """Though what is filled in is checked by us, the schema that makes the form is that of the configuration."""
    flow = {"ltx2_lora": ltx2_lora, "retrain": retrain}.get(name) or getattr(stage_flows, name)
    schema = parameter_schema(flow).model_dump()
    assert set(schema["definitions"]["RunConfig"]["properties"]) == set(RunConfig.model_fields)
    assert [one.get("type", one.get("$ref")) for one in schema["properties"]["config"]["anyOf"]] == [
        "string",
        "#/definitions/RunConfig",
        "null",
    ]
    assert flow.validate_parameters({"config": {"wrong": 1}})["config"] == {"wrong": 1}


def test_a_process_is_told_from_a_later_one_of_its_number() -> None:
    started, host = psutil.Process().create_time(), os.uname().nodename
    assert ProcessRecord(os.getpid(), started, host).is_alive()
    assert not ProcessRecord(os.getpid(), started - 60, host).is_alive()


def test_a_process_that_ended_unasked_is_not_alive() -> None:
    """Where nobody reaps them, as in a container without init, killed processes stay in the table."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = ProcessRecord(child.pid, psutil.Process(child.pid).create_time(), os.uname().nodename)
    assert record.is_alive()
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert not record.is_alive()
    child.wait()


def test_runs_are_dead_only_when_their_process_is_gone(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_HOME: tmp_path}), recorded_process("working"):
        (records_folder() / "killed.json").write_text(
            json.dumps({"pid": os.getpid(), "started_at": 1.0, "host": os.uname().nodename})
        )
        (records_folder() / "elsewhere.json").write_text(
            json.dumps({"pid": os.getpid(), "started_at": 1.0, "host": "another-machine"})
        )
        assert list(dead_runs()) == ["killed"]
        forget("killed")
        assert dead_runs() == {}
        assert (records_folder() / "working.json").exists()


def test_a_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_HOME: tmp_path}):
        records_folder().mkdir(parents=True)
        of_earlier = {"pid": os.getpid(), "started_at": 1.0, "host": os.uname().nodename, "gpu_lease": None}
        (records_folder() / "training.json").write_text(json.dumps(of_earlier))
        assert list(dead_runs()) == ["training"]


def test_a_run_of_another_container_of_this_name_is_told_by_its_lock(tmp_path: Path) -> None:
    """Its processes cannot be seen here; those of a container that was restarted hold nothing."""
    with temporary_settings({PREFECT_HOME: tmp_path}):
        with recorded_process("elsewhere"):
            path = records_folder() / "elsewhere.json"
            record = json.loads(path.read_text()) | {"table": "another", "pid": 2**22 + 7}
            path.write_text(json.dumps(record))
            assert dead_runs() == {}
        path.write_text(json.dumps(record))
        assert list(dead_runs()) == ["elsewhere"]


def test_a_killed_run_is_dead_only_when_its_stage_is_gone_too() -> None:
    """Until then a retry would only wait for it."""
    number = 2**22 + 7  # no process has it
    record = ProcessRecord(number, 1.0, os.uname().nodename)
    assert not has_children(record)
    command = [sys.executable, "-c", "input()", "tasks.runtime.fork_server", "workspace", str(number)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert has_children(record)
    child.kill()
    child.wait()
    assert not has_children(record)


def test_the_record_goes_when_the_run_ends(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_HOME: tmp_path}):
        with pytest.raises(KeyboardInterrupt), recorded_process("interrupted"):
            raise KeyboardInterrupt
        assert list(records_folder().iterdir()) == []


def test_the_miniatures_configuration_is_a_run_of_every_section(tmp_path: Path) -> None:
    made = Miniature(tmp_path / "model" / "a.safetensors", tmp_path / "model" / "gemma", tmp_path / "footage")
    made.text_encoder.mkdir(parents=True)
    config = load_config(write_config(tmp_path, made), {})
    assert config.model.checkpoint == str(made.checkpoint)
    assert config.model.text_encoder == str(made.text_encoder)
    assert [dataset.instance_data_dir for dataset in config.datasets] == [made.footage]
    assert config.workspace == tmp_path / "workspace"
    assert len(config.prompts.validation) == 2
    text = yaml.safe_load((tmp_path / "ltx2-lora.yaml").read_text())
    assert not Path(text["datasets"][0]["instance_data_dir"]).is_absolute()


def test_a_pack_brings_its_text_encoder_to_the_miniatures_configuration(tmp_path: Path) -> None:
    pack = tmp_path / "model"
    made = Miniature(pack, pack / "text_encoders" / "a.safetensors", tmp_path / "footage")
    pack.mkdir()
    model = load_config(write_config(tmp_path, made), {}).model
    assert (model.checkpoint, model.text_encoder) == (str(pack), None)


def test_every_stage_has_a_section_a_flow_and_a_deployment() -> None:
    entrypoints = {d["name"]: d["entrypoint"] for d in yaml.safe_load(prefect_yaml())["deployments"]}
    for stage in STAGES:
        assert RunConfig.model_fields[stage.name].annotation is stage.config
        assert getattr(stage_flows, stage_flows.flow_attribute(stage)).name == f"stage-{stage.name}"
        assert entrypoints[f"stage-{stage.name}"] == f"flows/flows.py:{stage_flows.flow_attribute(stage)}"
    assert deployment_names()["ltx2-lora"] == "ltx2-lora/ltx2-lora"


def test_nested_settings_as_parameters() -> None:
    nested = {"a": {"b": 1}, "c": [{"d": 2}, {"d": 3}], "e": [1, 2], "f": []}
    assert flatten(nested) == {"a.b": 1, "c.0.d": 2, "c.1.d": 3, "e": [1, 2], "f": []}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["plan", "none.yaml"], "ConfigError: there is no configuration file none.yaml"),
        (["run", "none.yaml"], "ConfigError: there is no configuration file none.yaml"),
        (["plan", "none.yaml", "--set", "train_lora.steps"], "is not NAME=VALUE"),
        (["gc", "none.yaml"], "ConfigError: there is no configuration file none.yaml"),
        (["announce", "none.yaml"], "ConfigError: there is no configuration file none.yaml"),
        (["plan", "{config}", "--only", "probe", "--from", "split"], "ConfigError: both --only probe and --from split"),
        (["plan", "{config}", "--set", "train_lora.steps=[1"], "ConfigError: "),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_1(
    write: Write, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main([word.replace("{config}", str(write())) for word in words]) == 1
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""
