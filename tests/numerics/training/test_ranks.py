"""Two processes over gloo do what one does: same losses, same LoRA, same learning rates; and end together."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from ltx_core.adapters.lora import add_lora, lora_parameters
from ltx_core.distributed.ranks import Ranks, joined
from ltx_core.distributed.sharding import shard_base
from ltx_core.errors import CheckpointError, ConfigError, DataError, LtxError, Stopped, TransientError
from ltx_core.io.tensors import read_tensors
from ltx_core.progress import Silent
from ltx_core.training.metrics import Metric
from ltx_core.training.run import TrainJob, TrainResult, train_lora
from tasks.runtime.ranks import free_port
from tests.numerics.training.conftest import FAST
from tests.processes import make_threads_anew

pytestmark = pytest.mark.numerics
JobOf = Callable[..., TrainJob]
Work = Callable[[Ranks], object]
ODD_EVAL: dict[str, Any] = {"max_eval_clips": 1, "eval_sigmas": 3}
"""Three forwards: the second rank has none in the last round."""


def rank_process(rank: int, port: int, work: Work, said: Any) -> None:
    """A rank as torchrun would start it; sends the error it ends with.

    It ends as the product's ranks do, without teardown: what a flow left in the test process that was forked, such as
    threads that a fork does not have, raises in it.
    """
    make_threads_anew()
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()} | {"GLOO_SOCKET_IFNAME": "lo"})
    try:
        with joined("cpu") as ranks:
            work(ranks)
    except LtxError as error:
        said.put((rank, type(error), str(error)))
    said.close()
    said.join_thread()
    os._exit(0)


def together(work: Work) -> dict[int, tuple[type, str]]:
    """Run `work` in two forked ranks; the errors they ended with, and (int, "") where one was killed."""
    fork = multiprocessing.get_context("fork")
    said, port = fork.Queue(), free_port()
    processes = [fork.Process(target=rank_process, args=(rank, port, work, said)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    found: dict[int, tuple[type, str]] = {}
    for rank, process in enumerate(processes):
        assert process.exitcode is not None
        if process.exitcode:
            found[rank] = (int, str(process.exitcode))
    while not said.empty():
        rank, kind, message = said.get()
        found[rank] = (kind, message)
    return found


def losses(metrics: tuple[Metric, ...], name: str) -> list[float]:
    return [row.value for row in metrics if row.name == name]


def check_alike(found: TrainResult, wanted: TrainResult) -> None:
    """The order of additions differs, so float32 differs in its last bits; learning rates do not."""
    assert losses(found.metrics, "learning_rate") == losses(wanted.metrics, "learning_rate")
    assert [(row.step, row.name) for row in found.metrics] == [(row.step, row.name) for row in wanted.metrics]
    for one, other in zip(found.metrics, wanted.metrics, strict=True):
        assert one.value == pytest.approx(other.value, rel=2e-3), one.name
    left, right = read_tensors(found.lora_path)[0], read_tensors(wanted.lora_path)[0]
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.allclose(tensor.float(), right[name].float(), rtol=2e-2, atol=2e-4), name


def train_two(job: TrainJob) -> dict[int, tuple[type, str]]:
    return together(lambda ranks: train_lora(replace(job, ranks=ranks), Silent()))


@pytest.fixture(scope="module")
def _trained() -> dict[str, Path]:
    return {}


@pytest.fixture
def by_two(_trained: dict[str, Path], job_of: JobOf, tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    """A job that two ranks have done, trained once. Do not change its folder."""
    if "two" not in _trained:
        folder = tmp_path_factory.mktemp("two")
        assert train_two(job_of(folder, **ODD_EVAL)) == {}
        _trained["two"] = folder
    return job_of(_trained["two"], **ODD_EVAL)


@pytest.fixture
def by_one(_trained: dict[str, Path], job_of: JobOf, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """What one process makes of the job as it is, trained once."""
    if "one" not in _trained:
        _trained["one"] = tmp_path_factory.mktemp("one")
    return train_lora(job_of(_trained["one"]), Silent())


@pytest.mark.extra  # with every method on: tests/numerics/methods/test_contract.py
@pytest.mark.parametrize("accumulation", [2, 4])
def test_two_ranks_train_as_one_does(
    accumulation: int, job_of: JobOf, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    changes: dict[str, Any] = {"gradient_accumulation_steps": accumulation, **ODD_EVAL}
    alone = train_lora(job_of(tmp_path / "one", **changes), Silent())
    if accumulation == FAST["gradient_accumulation_steps"]:
        job = request.getfixturevalue("by_two")
    else:
        job = job_of(tmp_path / "two", **changes)
        assert train_two(job) == {}
    found = train_lora(job, Silent())  # nothing left to do: reads what the two wrote
    assert found.resumed_from_step == 7
    assert found.base_eval_loss == alone.base_eval_loss
    check_alike(found, alone)


@pytest.mark.parametrize("first", [pytest.param("one", marks=pytest.mark.extra), "two"])
def test_a_run_goes_on_with_another_number_of_ranks(
    first: str, job_of: JobOf, by_one: TrainResult, tmp_path: Path
) -> None:
    job = job_of(tmp_path / "changed")

    def until_stopped(ranks: Ranks) -> None:
        with pytest.raises(Stopped):
            train_lora(replace(job, ranks=ranks), StopsAt(4))

    assert (together(until_stopped) if first == "two" else until_stopped(job.ranks)) in ({}, None)
    assert (tmp_path / "changed" / "checkpoints" / "step-000004").is_dir()
    if first == "one":
        assert train_two(job) == {}
    found = train_lora(job, Silent())
    assert found.resumed_from_step == (7 if first == "one" else 4)
    check_alike(found, by_one)


class StopsAt(Silent):
    """Only the first rank is asked to stop; the other must follow."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.stopping = False

    def advance(self, done: int, total: int, unit: str) -> None:
        self.stopping = done == self.step and os.environ.get("RANK", "0") == "0"


def test_a_killed_rank_ends_the_other_with_a_clear_error_within_seconds(job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(tmp_path, steps=500)

    class Dies(Silent):
        def advance(self, done: int, total: int, unit: str) -> None:
            if done == 2 and os.environ["RANK"] == "1":
                (tmp_path / "died").write_text(str(time.monotonic()))
                os.kill(os.getpid(), signal.SIGKILL)

    ended = together(lambda ranks: train_lora(replace(job, ranks=ranks), Dies()))
    assert ended[1] == (int, str(-signal.SIGKILL))
    kind, message = ended[0]
    assert kind is TransientError
    assert "rank 0 of 2 lost the others" in message
    assert "Run again to go on" in message
    assert time.monotonic() - float((tmp_path / "died").read_text()) < 10


def test_a_clip_that_breaks_the_loss_is_named_by_every_rank(job_of: JobOf, source_of: Any, tmp_path: Path) -> None:
    ended = train_two(job_of(tmp_path, source_of(video_scale={"b": 1e30})))
    assert [kind for kind, _ in ended.values()] == [DataError, DataError]
    assert all("not finite for b (video" in message for _, message in ended.values())


def test_ranks_that_come_apart_write_nothing(job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(tmp_path)
    transformer = job.load_transformer()

    class Drifts(Silent):
        """Stands for a GPU that computes wrongly: one weight of the second rank moves by one bit."""

        def advance(self, done: int, total: int, unit: str) -> None:
            if done == 2 and os.environ["RANK"] == "1":
                next(iter(lora_parameters(transformer).values())).data.view(torch.int32)[0, 0] += 1

    drifting = replace(job, load_transformer=lambda: transformer)
    ended = together(lambda ranks: train_lora(replace(drifting, ranks=ranks), Drifts()))
    assert [kind for kind, _ in ended.values()] == [CheckpointError, CheckpointError]
    assert all("ranks [1] have another LoRA than rank 0" in message for _, message in ended.values())
    assert not list((tmp_path / "checkpoints").glob("step-*"))


def test_a_step_that_cannot_be_shared_evenly_is_refused(job_of: JobOf, tmp_path: Path) -> None:
    ended = train_two(job_of(tmp_path, gradient_accumulation_steps=3))
    assert [kind for kind, _ in ended.values()] == [ConfigError, ConfigError]
    assert "set gradient_accumulation_steps to a multiple of 2" in ended[0][1]


@pytest.mark.extra
@pytest.mark.parametrize("activation_checkpointing", [0.0, 1.0])
def test_a_base_cut_among_ranks_trains_as_a_whole_one(
    activation_checkpointing: float, job_of: JobOf, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Steps, eval, checkpoints and the export's check; two gathers of a block give the same weights."""
    if activation_checkpointing == FAST["activation_checkpointing"]:
        whole = request.getfixturevalue("by_two")
    else:
        whole = job_of(tmp_path / "whole", activation_checkpointing=activation_checkpointing, **ODD_EVAL)
        assert train_two(whole) == {}
    cut = job_of(tmp_path / "cut", activation_checkpointing=activation_checkpointing, **ODD_EVAL)
    assert together(lambda ranks: train_lora(replace(cut, ranks=ranks, sharding="full"), Silent())) == {}
    found, wanted = train_lora(cut, Silent()), train_lora(whole, Silent())
    assert found.resumed_from_step == wanted.resumed_from_step == 7
    assert found.lora_path.read_bytes() == wanted.lora_path.read_bytes()
    assert found.metrics == wanted.metrics


def test_each_rank_holds_its_part_of_the_blocks(job_of: JobOf, tmp_path: Path) -> None:
    transformer = job_of(tmp_path).load_transformer()
    total = sum(p.numel() * p.element_size() for p in transformer.transformer_blocks.parameters())
    add_lora(transformer, ["transformer_blocks.0.attn1.to_q"], rank=2, alpha=2, seed=0)

    def cut(ranks: Ranks) -> None:
        shard_base(transformer, ranks, "cpu")
        parts = [p.to_local() for p in transformer.parameters() if isinstance(p, DTensor)]
        own = sum(part.nbytes for part in parts)
        assert own == pytest.approx(total / 2, rel=0.02)  # odd rows lie with the first rank
        assert all(not isinstance(p, DTensor) for p in transformer.parameters() if p.requires_grad)

    assert together(cut) == {}


def test_one_rank_has_nobody_to_share_the_base_with(job_of: JobOf, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sharding is 'full' with one GPU.*num_gpus to 2 or more"):
        train_lora(replace(job_of(tmp_path), sharding="full"), Silent())


def test_gradients_are_summed_and_missing_ones_count_as_zero(tmp_path: Path) -> None:
    def add(ranks: Ranks) -> None:
        parameters = {name: torch.nn.Parameter(torch.zeros(3)) for name in ("both", "second", "none")}
        parameters["both"].grad = torch.full((3,), 1.0 + ranks.rank)
        if ranks.rank == 1:
            parameters["second"].grad = torch.full((3,), 5.0)
        ranks.add_gradients(parameters)
        assert parameters["none"].grad is None
        found = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        save_file(found, tmp_path / f"{ranks.rank}.safetensors")

    assert together(add) == {}
    for rank in range(2):
        found, _ = read_tensors(tmp_path / f"{rank}.safetensors")
        assert {name: tensor.tolist() for name, tensor in found.items()} == {"both": [3.0] * 3, "second": [5.0] * 3}
