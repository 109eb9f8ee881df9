"""Kill -9 at any point, run again: the same bytes."""

import errno
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ltx_core.errors import Stopped, StorageError
from ltx_core.progress import Silent
from ltx_core.training import state
from ltx_core.training.checkpoint_writer import THREAD
from ltx_core.training.run import TrainJob, TrainResult, train_lora
from tests.processes import make_threads_anew

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
STEPS = 7
"""With checkpoints every 3 steps, evals every 4, reports every 2 and two batches a step."""
LONG_STEPS = 8


def kill_self(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_disk() -> None:
    """Until no checkpoint is being written."""
    for thread in threading.enumerate():
        if thread.name.startswith(THREAD):
            thread.join()


class KilledAt(Silent):
    """The process dies when a step has been taken, before its checkpoint; that of an earlier step is on disk by then,
    unless it is `still_written`."""

    def __init__(self, step: int, *, still_written: bool = False) -> None:
        self.step, self.still_written = step, still_written

    def advance(self, done: int, total: int, unit: str) -> None:
        if done == self.step:
            if not self.still_written:
                wait_for_disk()
            kill_self()


class AsFastAsTheDisk(Silent):
    """Every step takes as long as the checkpoint before it, if there is one, takes to be written."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []

    def advance(self, done: int, total: int, unit: str) -> None:
        wait_for_disk()
        self.told.append((done, unit))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.told += [(step, name) for name in values]


class StopsAt(Silent):
    """Somebody asks to stop when a step has been taken."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.stopping = False

    def advance(self, done: int, total: int, unit: str) -> None:
        self.stopping = done == self.step


def in_child(work: Callable[[], object]) -> int | None:
    """Run in a forked child, which may kill itself; its exit code."""

    def run() -> None:
        make_threads_anew()
        work()

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(300)
    return child.exitcode


@pytest.fixture(scope="module")
def _undisturbed() -> dict[str, TrainResult]:
    return {}


@pytest.fixture
def undisturbed(
    _undisturbed: dict[str, TrainResult], job_of: JobOf, tmp_path_factory: pytest.TempPathFactory
) -> TrainResult:
    """The result of a run that nothing interrupts, trained once."""
    if not _undisturbed:
        _undisturbed["result"] = train_lora(job_of(tmp_path_factory.mktemp("whole")), Silent())
    return _undisturbed["result"]


def check_same(result: TrainResult, wanted: TrainResult) -> None:
    assert result.lora_path.read_bytes() == wanted.lora_path.read_bytes()
    assert result.metrics == wanted.metrics
    assert (result.eval_loss, result.base_eval_loss) == (wanted.eval_loss, wanted.base_eval_loss)


@pytest.mark.parametrize("step", [3, *(pytest.param(step, marks=pytest.mark.extra) for step in (4, 7))])
def test_killed_after_a_step(step: int, job_of: JobOf, tmp_path: Path, undisturbed: TrainResult) -> None:
    job = job_of(tmp_path)
    assert in_child(lambda: train_lora(job, KilledAt(step))) == -signal.SIGKILL
    result = train_lora(job, Silent())
    assert result.resumed_from_step == {3: None, 4: 3, 7: 6}[step]
    check_same(result, undisturbed)


@pytest.mark.extra
@pytest.mark.parametrize("optimizer", ["adamw_bf16", "adamw8bit", "prodigy", "adafactor"])
def test_killed_at_random_steps(optimizer: str, job_of: JobOf, tmp_path: Path) -> None:
    """Of one run, one after another; what is resumed was itself resumed."""
    steps = sorted(random.Random(optimizer).sample(range(4, LONG_STEPS + 1), 2))
    settings = {"optimizer": optimizer, "steps": LONG_STEPS} | ({"learning_rate": 1} if optimizer == "prodigy" else {})
    whole = train_lora(job_of(tmp_path / "whole", **settings), Silent())
    job = job_of(tmp_path / "killed", **settings)
    for step in steps:
        assert in_child(lambda step=step: train_lora(job, KilledAt(step))) == -signal.SIGKILL  # type: ignore[misc]  # bound now
    result = train_lora(job, Silent())
    last = steps[-1] - 1
    assert result.resumed_from_step == (last - last % 3 or None), "whose own checkpoint was not written yet"
    check_same(result, whole)


@pytest.mark.extra
def test_killed_with_a_weight_that_follows_from_the_losses(job_of: JobOf, tmp_path: Path) -> None:
    whole = train_lora(job_of(tmp_path / "whole", audio_loss_ratio=0.3), Silent())
    weights = [row.value for row in whole.metrics if row.name == "loss_weight/audio"]
    assert all(0.05 < weight < 0.9 for weight in weights)
    job = job_of(tmp_path / "killed", audio_loss_ratio=0.3)
    assert in_child(lambda: train_lora(job, KilledAt(5))) == -signal.SIGKILL
    result = train_lora(job, Silent())
    assert result.resumed_from_step == 3
    check_same(result, whole)


@pytest.mark.extra
def test_killed_again_and_again(job_of: JobOf, tmp_path: Path, undisturbed: TrainResult) -> None:
    job = job_of(tmp_path)
    for step in (2, 4, 5, 7):
        assert in_child(lambda step=step: train_lora(job, KilledAt(step))) == -signal.SIGKILL  # type: ignore[misc]  # bound now
    check_same(train_lora(job, Silent()), undisturbed)


@pytest.mark.extra
@pytest.mark.parametrize("last", [11, 33])
def test_killed_between_the_batches_of_a_step(
    last: int, job_of: JobOf, source_of: Any, tmp_path: Path, undisturbed: TrainResult
) -> None:
    """Load 11 is the third of step 0 (8 come before it), whose first batch has at most two clips."""
    loads = 0

    def count(_: str) -> None:
        nonlocal loads
        loads += 1
        if loads == last:
            kill_self()

    assert in_child(lambda: train_lora(job_of(tmp_path, source_of(on_load=count)), Silent())) == -signal.SIGKILL
    check_same(train_lora(job_of(tmp_path), Silent()), undisturbed)


def test_killed_while_a_checkpoint_is_written(
    job_of: JobOf, tmp_path: Path, undisturbed: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(state, "file_digest", kill_self)  # called once tensors are written, before the rename
        assert in_child(lambda: train_lora(job_of(tmp_path), Silent())) == -signal.SIGKILL
    left = [path.name for path in (tmp_path / "checkpoints").glob(".partial-*")]
    assert len(left) == 1
    result = train_lora(job_of(tmp_path), Silent())
    assert result.resumed_from_step is None
    assert not list((tmp_path / "checkpoints").glob(".partial-*"))
    check_same(result, undisturbed)


@pytest.mark.extra
def test_killed_while_training_goes_on_beside_a_checkpoint_that_is_written(
    job_of: JobOf, tmp_path: Path, undisturbed: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(state, "file_digest", lambda _: time.sleep(300))
        killed = KilledAt(5, still_written=True)
        assert in_child(lambda: train_lora(job_of(tmp_path), killed)) == -signal.SIGKILL
    assert [path.name[:9] for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()] == [".partial-"]
    result = train_lora(job_of(tmp_path), Silent())
    assert result.resumed_from_step is None
    check_same(result, undisturbed)


def test_a_checkpoint_that_cannot_be_written_ends_training_after_the_step_beside_it(
    job_of: JobOf, tmp_path: Path, undisturbed: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the disk's error, before anything else is done at that step, whose eval loss would be due; before the step
    if the error is there before it begins."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    progress = AsFastAsTheDisk()
    with monkeypatch.context() as patch:
        patch.setattr(state, "write_tensors", full)
        with pytest.raises(StorageError, match=r"the disk of .*step-000003 is full .*free some space"):
            train_lora(job_of(tmp_path), progress)
    assert progress.told[-1] in [(3, "steps"), (4, "steps")]
    assert not list((tmp_path / "checkpoints").glob("*step-*"))
    check_same(train_lora(job_of(tmp_path), Silent()), undisturbed)


@pytest.mark.parametrize("step", [1, *(pytest.param(step, marks=pytest.mark.extra) for step in (3, 7))])
def test_stopped_when_asked(step: int, job_of: JobOf, tmp_path: Path, undisturbed: TrainResult) -> None:
    job = job_of(tmp_path)
    with pytest.raises(Stopped, match="stopped while"):
        train_lora(job, StopsAt(step))
    assert (tmp_path / "checkpoints" / f"step-{step:06d}").is_dir()
    assert not (tmp_path / "lora.safetensors").exists()
    result = train_lora(job, Silent())
    assert result.resumed_from_step == step
    check_same(result, undisturbed)


def test_damaged_newest_checkpoint_is_done_over(job_of: JobOf, tmp_path: Path, undisturbed: TrainResult) -> None:
    job = job_of(tmp_path)
    shutil.copytree(undisturbed.lora_path.parent, tmp_path, dirs_exist_ok=True)
    for name in ("step-000007", "step-000006"):
        (tmp_path / "checkpoints" / name / "optimizer.safetensors").write_bytes(b"torn")
    result = train_lora(job, Silent())
    assert result.resumed_from_step == 3
    check_same(result, undisturbed)
