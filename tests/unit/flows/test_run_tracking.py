"""A stage's pages in MLflow while it runs, told by a real log into a real database."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.config import load_config
from flows.plan import as_configured
from flows.run_tracking import Tracked
from tasks import stage_named
from tasks.tracking.mlflow import DATABASE
from tests.flows.lab import wait_for
from tests.unit.flows.conftest import Write

pytestmark = pytest.mark.whole
STAGE, PAGE = "train_lora", "samples.html"


def test_a_page_is_in_mlflow_while_its_stage_goes_on_and_after_it_was_stopped(write: Write, tmp_path: Path) -> None:
    """Each newer page takes the place of the one before."""
    config = load_config(write(workspace="workspace"), {})
    tracked = Tracked(config, key="0123", name="a run", say=pytest.fail)
    client = MlflowClient(tracking_uri=f"sqlite:///{config.place().root / DATABASE}")

    def kept() -> str:
        assert tracked.child is not None
        run_id = tracked.child.run_id()
        found = {one.path for one in client.list_artifacts(run_id)} if run_id else set()
        return Path(client.download_artifacts(run_id, PAGE, str(tmp_path))).read_text() if PAGE in found else ""

    tracked.begin(as_configured(stage_named(STAGE), config))
    tracked.started(STAGE, "nothing is there yet")
    page = tmp_path / "stage" / PAGE
    page.parent.mkdir()
    for step in (0, 100):
        page.write_text(f"step {step}")
        tracked.shown(STAGE, page)
        wait_for(f"page of step {step}", lambda step=step: kept() == f"step {step}")
    tracked.end("KILLED")
    assert kept() == "step 100"
