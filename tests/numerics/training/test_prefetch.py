"""Batches made ahead are those of the step, in order, and their thread never outlives it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.errors import DataError
from ltx_core.progress import Silent
from ltx_core.training.loop import Run, own_batches
from ltx_core.training.metrics import History
from ltx_core.training.prefetch import prefetched
from ltx_core.training.run import TrainJob, prepare

pytestmark = pytest.mark.numerics
THREAD = "batches"


@pytest.fixture
def run(job_of: Callable[..., TrainJob], tmp_path: Path) -> Run:
    return prepare(job_of(tmp_path), tmp_path, "digest", History(), Silent())


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD)]


def test_batches_are_those_made_on_the_spot(run: Run) -> None:
    load = run.objective.train_batch
    orders = list(own_batches(run, 3))
    assert len(orders) == 4 * 2
    with prefetched(load, orders, "cpu", depth=3) as feed:
        for occurrences in orders:
            ahead, now = feed(occurrences), load(occurrences)
            assert ahead.clip_ids == now.clip_ids
            assert torch.equal(ahead.video.noisy, now.video.noisy)
            assert torch.equal(ahead.video.sigma, now.video.sigma)
    assert feed.wait_seconds > 0
    assert not threads()


def test_no_more_is_made_than_the_depth(run: Run) -> None:
    made: list[Any] = []
    orders = list(own_batches(run, 0))
    with prefetched(
        lambda occurrences: made.append(occurrences) or run.objective.train_batch(occurrences), orders, "cpu", 2
    ) as feed:  # type: ignore[func-returns-value]  # append, then load
        feed(orders[0])
        until = time.monotonic() + 10
        while len(made) < 3 and time.monotonic() < until:
            threading.Event().wait(0.01)
        threading.Event().wait(0.1)
        assert made == orders[:3]  # the one in use, and two ahead


def test_another_batch_than_the_next_is_refused(run: Run) -> None:
    orders = list(own_batches(run, 0))
    with prefetched(run.objective.train_batch, orders, "cpu") as feed, pytest.raises(ValueError, match="is next"):
        feed(orders[1])


def test_what_breaks_in_the_thread_comes_with_its_batch_and_ends_it(run: Run) -> None:
    orders = list(own_batches(run, 0))

    def load(occurrences: Any) -> Any:
        if occurrences == orders[1]:
            raise DataError("the shard is gone")
        return run.objective.train_batch(occurrences)

    def take_all() -> None:
        with prefetched(load, orders, "cpu") as feed:
            for occurrences in orders:
                taken.append(feed(occurrences))

    taken: list[Any] = []
    with pytest.raises(DataError, match="gone"):
        take_all()
    assert len(taken) == 1
    assert not threads()
