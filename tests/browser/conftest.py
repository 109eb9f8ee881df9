"""Two finished runs of the toy, in Prefect with its pages and in MLflow, and a browser to look at them."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser

from flows.run import UI_VARIABLE
from flows.server.answers import answers
from flows.server.services import start, wait_until
from tasks.tracking.mlflow import DATABASE
from tests.browser.chromium import started
from tests.flows.lab import PATIENCE, Lab, free_port
from tests.flows.toy import toy_in, write_toy

SECONDS = 3600
"""Of one test: the first one waits for both servers and both runs."""
CAPTIONS = (
    "A ball rolls to the right over a grey floor, from one wall to the other, while a low tone hums; the light comes "
    "from the left, the shadow is long, and nothing else moves in the picture until the ball has left it.",
    "A bar stays still.",
)
LENGTH = {"num_frames": 17, "frame_rate": 8.0}
"""Two seconds, so that a busy machine sees them play."""
SAMPLES = {"every_steps": 1, "num_steps": 2, "allow_broken_base": True, **LENGTH}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(SECONDS))


@dataclass(frozen=True)
class Seen:
    """What the pages are of, and where."""

    prefect: str
    """Address of its server."""
    mlflow: str
    flow_runs: list[str]
    """Ids in Prefect."""
    runs: list[str]
    """Ids in MLflow, the first one first."""
    renders: str
    """Id of the MLflow run of the stage that rendered, in the first run."""
    report: Path
    """On disk, of the first run."""
    gallery: Path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Looked for before anything is run, so that a machine without it says so at once."""
    with started() as running:
        yield running


@pytest.fixture(scope="session")
def seen(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """Run the pipeline twice, with another rank, as people do; Prefect and MLflow show both as long as tests look."""
    assert browser.is_connected()
    folder, port = tmp_path_factory.mktemp("browser"), free_port()
    write_toy(folder)
    toy = toy_in(folder).variant(
        "shown",
        train_lora={"steps": 2, "samples": SAMPLES},
        render_validation=LENGTH,
        prompts={"validation": list(CAPTIONS)},
    )
    pages = {
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "prefect-pages"),
        UI_VARIABLE: f"http://127.0.0.1:{port}",
    }
    lab = Lab(folder / "prefect", more=pages)
    services = [lab.start_server()]
    try:
        lab.wait_until_ready(services[0])
        for rank in (4, 2):
            ran = lab.command(
                "ltx2-lora", "run", str(toy.config), "--set", f"train_lora.rank={rank}", seconds=SECONDS / 3
            )
            assert ran.returncode == 0, ran.stderr
        database = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{toy.workspace / DATABASE}"}
        command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
        with lab.settings():
            services.append(start("mlflow", command, {**database, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}))
        wait_until(lambda: answers(f"{pages[UI_VARIABLE]}/health"), services[1], PATIENCE)
        yield _seen(lab, pages[UI_VARIABLE], toy.workspace)
    finally:
        for service in services:
            service.end()


def _seen(lab: Lab, mlflow: str, workspace: Path) -> Seen:
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace / DATABASE}")
    runs = sorted(client.search_runs(["1"]), key=lambda run: run.info.start_time)
    parents = [run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags]
    renders = next(run.info.run_id for run in runs if run.info.run_name == "render_validation")
    flow_runs = sorted(lab.runs("ltx2-lora"), key=lambda run: str(run.start_time))
    first = workspace / "runs" / flow_runs[0].name
    (gallery,) = (workspace / "stages" / "render_validation").glob(
        f"{json.loads((first / 'run.json').read_text())['stages']['render_validation']}/gallery.html"
    )
    ids = [str(run.id) for run in flow_runs]
    return Seen(lab.url.removesuffix("/api"), mlflow, ids, parents, renders, first / "index.html", gallery)
