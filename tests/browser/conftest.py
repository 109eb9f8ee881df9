"""Two finished runs of the toy under `ltx2-lora up`, and a browser to look at what shows them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.tracking.mlflow import DATABASE
from tests.browser.chromium import started
from tests.flows.lab import Up, started_up
from tests.flows.toy import Toy, toy_in, write_toy

SECONDS = 3600
"""Of one test: the first one waits for both runs."""
CAPTIONS = (
    "A ball rolls to the right over a grey floor, from one wall to the other, while a low tone hums; the light comes "
    "from the left, the shadow is long, and nothing else moves in the picture until the ball has left it.",
    "A bar stays still.",
)
LENGTH = {"num_frames": 17, "frame_rate": 8.0}
"""Two seconds, so that a busy machine sees them play."""
SAMPLES = {"every_steps": 1, "num_steps": 2, "allow_broken_base": True, **LENGTH}
RANKS = (4, 2)
"""Of the LoRAs of the two runs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(SECONDS))


@dataclass(frozen=True)
class Shown:
    """The runs, by the names that each place has for them; the first run first."""

    up: Up
    folders: list[Path]
    """In the workspace, with the reports."""
    gallery: Path
    """Of the first run, on disk."""
    flow_runs: list[str]
    """Ids in Prefect."""
    artifacts: list[dict[str, str]]
    """Ids in Prefect of each run's artifacts, by their keys."""
    runs: list[str]
    """Ids in MLflow."""
    stages: dict[str, str]
    """The same of the stages of the first run, by their names."""

    @property
    def report(self) -> Path:
        """Of the first run, on disk."""
        return self.folders[0] / "index.html"

    @property
    def prefect(self) -> str:
        """Address of its pages."""
        return self.up.url.removesuffix("/api")

    @property
    def mlflow(self) -> str:
        """Address of its pages."""
        return self.up.mlflow_url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Looked for before anything is run, so that a machine without it says so at once."""
    with started() as running:
        yield running


@pytest.fixture(scope="session")
def shown(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Run the pipeline by its deployment and then typed, with samples while it trains; both servers go on as long as
    tests look."""
    assert browser.is_connected()
    folder = tmp_path_factory.mktemp("browser")
    write_toy(folder)
    toy = toy_in(folder).variant(
        "shown",
        train_lora={"steps": 2, "samples": SAMPLES},
        render_validation=LENGTH,
        prompts={"validation": list(CAPTIONS)},
    )
    pages = {"PREFECT_SERVER_UI_ENABLED": "true", "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "prefect-pages")}
    with started_up(toy.config, folder / "up", pages) as up:
        assert up.process.poll() is None, up.said
        chosen = json.dumps({"train_lora.rank": RANKS[0]})
        _type(up, "prefect", "deployment", "run", "ltx2-lora/ltx2-lora", "-p", f"overrides={chosen}", "--watch")
        _type(up, "ltx2-lora", "run", str(toy.config), "--set", f"train_lora.rank={RANKS[1]}")
        yield _shown(up, toy)


def _type(up: Up, *words: str) -> None:
    ran = up.type(*words, seconds=SECONDS / 3)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _shown(up: Up, toy: Toy) -> Shown:
    with temporary_settings({PREFECT_API_URL: up.url}), get_client(sync_client=True) as client:
        flow_runs = sorted(client.read_flow_runs(), key=lambda run: str(run.start_time))
        made = client.read_artifacts(limit=200)
    assert [run.state_name for run in flow_runs] == ["Completed"] * len(RANKS)
    mlflow = MlflowClient(tracking_uri=f"sqlite:///{toy.workspace / DATABASE}")
    found = sorted(mlflow.search_runs(["1"]), key=lambda run: run.info.start_time)
    parents = [run.info.run_id for run in found if "mlflow.parentRunId" not in run.data.tags]
    own = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parents[0]]
    folders = [toy.workspace / "runs" / run.name for run in flow_runs]
    return Shown(
        up=up,
        folders=folders,
        gallery=toy.made(folders[0].name)["render_validation"] / "gallery.html",
        flow_runs=[str(run.id) for run in flow_runs],
        artifacts=[{str(one.key): str(one.id) for one in made if one.flow_run_id == run.id} for run in flow_runs],
        runs=parents,
        stages={str(run.info.run_name): run.info.run_id for run in own},
    )
