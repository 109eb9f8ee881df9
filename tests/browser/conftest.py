"""A finished run of the toy, and a browser to look at its pages."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import started
from tests.flows.lab import PROGRAMS
from tests.flows.toy import toy_in, write_toy

SECONDS = 3600
"""Of one test: the first one waits for the run."""
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
    """Pages on disk."""

    report: Path
    gallery: Path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Looked for before anything is run, so that a machine without it says so at once."""
    with started() as running:
        yield running


@pytest.fixture(scope="session")
def seen(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Run the pipeline once, with samples while it trains."""
    assert browser.is_connected()
    folder = tmp_path_factory.mktemp("browser")
    write_toy(folder)
    toy = toy_in(folder).variant(
        "shown",
        train_lora={"steps": 2, "samples": SAMPLES},
        render_validation=LENGTH,
        prompts={"validation": list(CAPTIONS)},
    )
    command = [str(PROGRAMS / "ltx2-lora"), "run", str(toy.config)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert ran.returncode == 0, ran.stderr
    (record,) = (toy.workspace / "runs").glob("*/run.json")
    key = json.loads(record.read_text())["stages"]["render_validation"]
    gallery = toy.workspace / "stages" / "render_validation" / key / "gallery.html"
    return Seen(record.with_name("index.html"), gallery)
