"""What leaves the machine of a configuration: read back from W&B's own file, and from MLflow's own database."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.config import RunConfig, load_config
from flows.run_tracking import mirrored_settings, tracked_settings
from tests.unit.flows.conftest import Write
from tests.wandb_records import Kept, kept_runs

pytestmark = pytest.mark.whole

RUN = """
import sys
from flows import run_tracking
from flows.config import load_config
from tasks.tracking.mlflow import answering

def in_a_database(tracking, place):
    return answering(tracking.model_copy(update={"uri": None}), place)

run_tracking.answering = in_a_database  # no server is there at the address whose secret is looked for
run = run_tracking.Tracked(load_config(sys.argv[1], {}), key="0123-abc", name="a run", say=print)
run.end("FINISHED")
"""
SECRET, SERVER = "hunter2", "https://mlflow.example:5000/base"


@pytest.fixture
def config(write: Write, tmp_path: Path) -> Path:
    """A configuration with every kind of location; weights of another place than the workspace."""
    (tmp_path / "private" / "adapters").mkdir(parents=True)
    return write(
        datasets=[{"id": "clips", "instance_data_dir": "private/footage", "mask_dir": "private/masks"}],
        model={"checkpoint": "private/ltx.safetensors", "text_encoder": "private/gemma"},
        prompts={"validation": ["a /path in a prompt"], "images": [{"image": "private/me.png", "prompt": "x"}]},
        render_validation={"clip_model": "openai/clip-vit-large-patch14"},
        tracking={"uri": f"https://me:{SECRET}@mlflow.example:5000/base", "wandb": True, "experiment": "mine"},
        workspace="workspace",
    )


@pytest.fixture
def kept(config: Path, tmp_path: Path) -> Kept:
    """The run that `Tracked` began, in a process of its own, at whose end W&B's file is whole."""
    offline = os.environ | {"WANDB_MODE": "offline", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", RUN, str(config)], env=offline, check=True)
    (kept,) = kept_runs(tmp_path / "workspace")
    return kept


def test_no_secret_and_no_folder_leaves_this_machine(kept: Kept, tmp_path: Path) -> None:
    assert "tracking.uri" not in kept.config
    assert {name for name, value in kept.config.items() if SECRET in str(value)} == set()
    assert {name for name, value in kept.config.items() if str(tmp_path) in str(value)} == set()
    told = {name: kept.config[name] for name in kept.config if str(kept.config[name]).startswith("/")}
    assert told == {}
    assert kept.config["datasets.0.instance_data_dir"] == "footage"
    assert kept.config["datasets.0.mask_dir"] == "masks"
    assert kept.config["model.checkpoint"] == "ltx.safetensors"
    assert kept.config["model.text_encoder"] == "gemma"
    assert kept.config["prompts.images.0.image"] == "me.png"
    assert kept.config["render_validation.clip_model"] == "openai/clip-vit-large-patch14", "a repository is no path"
    assert kept.config["prompts.validation"] == ["a /path in a prompt"]
    binary = b"".join(file.read_bytes() for file in (tmp_path / "workspace" / "wandb").rglob("*") if file.is_file())
    assert SECRET.encode() not in binary

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'workspace' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["tracking.uri"] == SERVER
    assert run.data.params["model.checkpoint"] == str(tmp_path / "private" / "ltx.safetensors"), "MLflow is one's own"


def test_where_mlflow_cannot_be_reached_nothing_is_begun_beside_it(config: Path, tmp_path: Path) -> None:
    once = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    begun = RUN.replace('{"uri": None}', '{"uri": Address("http://127.0.0.1:9")}').replace(
        "import sys\n", "import sys\nfrom tasks.tracking.address import Address\n"
    )
    offline = os.environ | once | {"WANDB_MODE": "offline", "HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", begun, str(config)], env=offline, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "MLflow at http://127.0.0.1:9 does not answer, or refuses" in ended.stderr
    assert kept_runs(tmp_path / "workspace") == []


def test_all_else_is_told_as_it_is(write: Write) -> None:
    config: RunConfig = load_config(write(), {})
    everything: dict[str, Any] = config.model_dump(mode="json", exclude={"workspace"})
    assert tracked_settings(config) == everything
    mirrored = mirrored_settings(config)
    for section in ("train_lora", "memory", "split", "limits"):
        assert mirrored[section] == everything[section]
