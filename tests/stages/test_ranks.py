"""Training as two processes on the CPU: what the task is told, what is left, and how all of them end."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from ltx_core.errors import ConfigError, DataError, Stopped
from ltx_core.training.samples import StoreSource
from tasks import stage_named
from tasks.runtime import torchrun as torchrun_module
from tasks.runtime.execute import read_summary
from tasks.runtime.launch import launch
from tasks.runtime.messages import write_request
from tasks.runtime.ranks import free_port
from tasks.runtime.stage import StageRun
from tests.processes import children_of, make_threads_anew, stage_process
from tests.stages.bench import Bench
from tests.stages.test_child import Listener

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("forked_children")]
END_SECONDS = 15.0
MODULE = "tasks.runtime.torchrun"


@pytest.fixture
def training(bench: Bench) -> Callable[..., StageRun]:
    """`train_lora` about to run as two processes, on latents that are there; keyword arguments set options."""
    done = bench.run("embed_frames")

    def make(**options: object) -> StageRun:
        chosen = bench.set(
            memory__num_gpus=2, train_lora__gradient_accumulation_steps=2, train_lora__eval_interval=100, **options
        )
        return chosen.due(stage_named("train_lora"), done)

    return make


def one_result(execution: StageRun) -> list[str]:
    """The names in the stage's manifest, whose files are there."""
    rows = list(execution.manifest)
    assert all((execution.workspace.root / row.file).is_file() for row in rows)
    return [row.name for row in rows]


def processes() -> list[psutil.Process]:
    """Processes of the stage: the first rank, then the other."""
    first = stage_process(psutil.Process())
    return [first, *children_of(first, "tasks.runtime.ranks")]


def test_a_killed_rank_ends_the_stage_within_seconds_and_is_named(training: Callable[..., StageRun]) -> None:
    execution = training(train_lora__steps=5000, train_lora__checkpoint_interval=5000)
    seen: list[psutil.Process] = []
    killed_at: list[float] = []

    def kill() -> None:
        seen.extend(processes())
        seen[1].kill()
        killed_at.append(time.monotonic())

    with pytest.raises(Stopped, match=r"process of rank 1 was killed from outside \(SIGKILL\)"):
        launch(execution, Listener(at=2, then=kill))
    assert time.monotonic() - killed_at[0] < END_SECONDS
    assert not any(process.is_running() for process in seen)


def test_ranks_stop_together_go_on_from_there_and_leave_one_result(training: Callable[..., StageRun]) -> None:
    execution = training(train_lora__steps=12, train_lora__checkpoint_interval=12)
    with pytest.raises(Stopped, match="stopped while training"):
        launch(execution, Listener(at=2, then=lambda: processes()[0].send_signal(signal.SIGTERM)))
    listener = Listener()
    summary = launch(execution, listener)
    assert summary.figures["resumed_from_step"] >= 2
    assert summary.figures["steps"] == 12
    assert any(note.startswith("going on from step") for note in listener.notes)
    assert listener.progress[-1] == (12, 12, "steps")
    names = one_result(execution)
    assert (names[0], names[-1]) == ("final", "step-000012")


def test_others_end_with_the_first(training: Callable[..., StageRun]) -> None:
    execution = training(train_lora__steps=5000, train_lora__checkpoint_interval=5000)
    seen: list[psutil.Process] = []

    def kill() -> None:
        seen.extend(processes())
        seen[0].kill()

    with pytest.raises(Stopped, match="the process of train_lora was killed"):
        launch(execution, Listener(at=2, then=kill))
    assert psutil.wait_procs(seen, timeout=END_SECONDS)[1] == []


def test_what_another_rank_finds_wrong_arrives_as_what_it_was(
    training: Callable[..., StageRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = StoreSource.load

    def load(self: StoreSource, clip_id: str) -> Any:
        if os.environ.get("RANK") == "1":
            raise DataError("the shard is gone")
        return kept(self, clip_id)

    execution = training()
    monkeypatch.setattr(StoreSource, "load", load)  # of the forks too
    with pytest.raises(DataError, match="on rank 1: the shard is gone"):
        launch(execution, Listener())


def torchrun(request: str) -> None:
    """The command itself, which imports torch in three processes."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", MODULE, request]
    clean = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    ended = subprocess.run(words, env=clean, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr


def forks(request: str) -> None:
    """The two processes that it starts, with the variables that it sets, as forks of this one."""
    names = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=as_rank, args=(number, names, request)) for number in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(300)
    assert [rank.exitcode for rank in ranks] == [0, 0]


def as_rank(number: int, names: dict[str, Any], request: str) -> None:
    make_threads_anew()
    ours = names | {"RANK": number, "LOCAL_RANK": number}
    os.environ.update({name: str(value) for name, value in ours.items()})
    sys.argv = [MODULE, request]
    torchrun_module.main()


@pytest.mark.parametrize("start", [forks, pytest.param(torchrun, marks=pytest.mark.extra)])
def test_several_machines_are_told_what_to_start_and_torchrun_does_it(
    start: Callable[[str], None], training: Callable[..., StageRun]
) -> None:
    """Two ranks of one machine stand for two machines; the base is cut among them."""
    execution = training(memory__num_nodes=2, memory__sharding="full")
    with pytest.raises(ConfigError, match="start this on every machine") as caught:
        launch(execution, Listener())
    request = re.findall(rf"{re.escape(MODULE)} (\S+)", str(caught.value))[0]
    assert json.loads(Path(request).read_text())["stage"] == "train_lora"
    start(request)
    assert one_result(execution) == ["final", "step-000001", "step-000002"]
    assert read_summary(execution.manifest).figures["steps"] == 2


def test_a_request_outlives_its_round_trip(training: Callable[..., StageRun]) -> None:
    from tasks.runtime.messages import read_request

    execution = training()
    assert read_request(write_request(execution)).num_ranks == 2
