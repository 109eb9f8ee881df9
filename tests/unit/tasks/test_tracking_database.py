"""The workspace's own database of MLflow, in folders with odd names."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ltx_core.errors import ConfigError, StorageError
from tasks.runtime.shared import TrackingConfig
from tasks.runtime.workspace import Workspace
from tasks.tracking.mlflow import connect, tracking_errors


@pytest.mark.parametrize("name", ['it\'s "mine" :now', "a#b", "50%20", "a;b", "new\nline", "gr\u00fcn"])
def test_any_folder_has_its_database(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the process too: MLflow writes it into a statement if it makes the first experiment."""
    (folder := tmp_path / name).mkdir()
    monkeypatch.chdir(folder)
    client, experiment = connect(TrackingConfig(), Workspace(folder))
    run = client.create_run(experiment)
    client.log_metric(run.info.run_id, "loss", 1.0)
    assert client.get_run(run.info.run_id).data.metrics == {"loss": 1.0}
    assert client.get_experiment("0").artifact_location == (folder / "mlartifacts").as_uri()
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert not (folder / "mlruns").exists()


def test_a_folder_that_no_address_can_name_is_refused(tmp_path: Path) -> None:
    (folder := tmp_path / "why?").mkdir()
    with pytest.raises(ConfigError, match="no path with a question mark; rename the folder"):
        connect(TrackingConfig(), Workspace(folder))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_database_that_may_not_be_written_is_no_server_that_is_silent(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'mlflow.db'}")
    wanted = pytest.raises(StorageError, match=r"mlflow\.db cannot be written.* Set `workspace` to")
    with engine.connect() as database:
        database.execute(text("PRAGMA query_only = ON"))
        with wanted, tracking_errors(TrackingConfig(), Workspace(tmp_path)):
            database.execute(text("CREATE TABLE runs (name TEXT)"))
