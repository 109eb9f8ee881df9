"""A workspace on a disk that is full: a stage's child says so in one message, and goes on once there is room."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ltx_core.errors import StorageError
from tasks import stage_named
from tasks.runtime.launch import launch
from tasks.runtime.stage import StageRun
from tests.stages.bench import Bench, Results
from tests.stages.small_disk import fill, mounted

pytestmark = [pytest.mark.whole, pytest.mark.timeout(600), pytest.mark.usefixtures("forked_children")]

PAGE = 4096
LEFT = 3 * PAGE
"""Room for the request, the child's folder and its log, so that it is the child, not its parent, that meets the end."""
STORE = {"split": "split", "train_lora": "none", "render_validation": "renders"}
"""Where the items of some stages lie: one without PyTorch, the one that trains, the one that writes videos."""
FULL = r"the disk of .* is full .*Finished items are kept: free some space"


class Deaf:
    """A listener that remembers nothing."""

    def started(self, *_: object, **__: object) -> None: ...
    def advanced(self, *_: object, **__: object) -> None: ...
    def measured(self, *_: object, **__: object) -> None: ...
    def noted(self, *_: object, **__: object) -> None: ...
    def shown(self, *_: object, **__: object) -> None: ...


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, finished: Bench) -> Iterator[Path]:
    with mounted(tmp_path_factory.mktemp("disk"), mib=96) as folder:
        shutil.copytree(finished.workspace, folder / "workspace", symlinks=True)
        yield folder


@pytest.mark.parametrize(
    "name", ["split", *(pytest.param(name, marks=pytest.mark.extra) for name in STORE if name != "split")]
)
def test_the_message_arrives_though_the_log_cannot_be_written(
    disk: Path, finished: Bench, results: Results, name: str
) -> None:
    execution = _due_again(finished.but(workspace=disk / "workspace"), results, name)
    ballast = disk / "ballast"
    fill(ballast, leave=LEFT)
    with pytest.raises(StorageError, match=FULL):
        launch(execution, Deaf())
    ballast.unlink()
    launch(execution, Deaf())
    assert execution.manifest.digest == results[name].manifest.digest
    assert not list(disk.rglob("*partial*"))


def _due_again(own: Bench, results: Results, name: str) -> StageRun:
    """A stage whose results are gone."""
    run = own.due(stage_named(name), results)
    shutil.rmtree(run.out)
    shutil.rmtree(own.workspace / "pool" / STORE[name], ignore_errors=True)
    return replace(run, force=True)
