"""Checkpoints are written beside training, one at a time, as the state was; what fails is raised and never lost."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltx_core.errors import CheckpointError, StorageError
from ltx_core.io.tensors import read_tensors
from ltx_core.progress import Silent
from ltx_core.training import checkpoint_writer
from ltx_core.training.checkpoint_writer import THREAD, CheckpointWriter, HostCopies
from ltx_core.training.config import TrainSettings
from ltx_core.training.metrics import History
from ltx_core.training.order import Position
from ltx_core.training.state import ADAPTER_FILE, TrainState, checkpoints, newest_state, save_state, step_of


@pytest.fixture
def writer(tmp_path: Path) -> CheckpointWriter:
    return CheckpointWriter(tmp_path, TrainSettings(keep_checkpoints=2), pinned=False)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No checkpoint is written before it is set."""
    gate = threading.Event()

    def held(*arguments: object) -> Path:
        assert gate.wait(60)
        return save_state(*arguments)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(checkpoint_writer, "save_state", held)
    yield gate
    gate.set()


def state(step: int, weight: Tensor, history: History | None = None) -> TrainState:
    moments = {"w.exp_avg": weight * 2, "w.step": torch.tensor(float(step))}
    return TrainState(
        step, Position(0, step), "one", history or History(), {"w": weight}, moments, {"m.safetensors": {"w": weight}}
    )


def write(writer: CheckpointWriter, step: int, weight: Tensor, history: History | None = None) -> None:
    writer.write(state(step, weight, history), {"lora": torch.ones(1)}, {"format": "pt"}, lambda _: None)


def kept(root: Path) -> list[int]:
    return [step_of(folder) for folder in checkpoints(root)]


def test_training_goes_on_and_what_it_changes_is_not_in_the_checkpoint(
    writer: CheckpointWriter, gate: threading.Event, tmp_path: Path
) -> None:
    weight, history = torch.randn(3, 5).bfloat16(), History()
    wanted = weight.clone()
    history.add(1, {"loss": 1.0})
    with writer:
        write(writer, 1, weight, history)
        assert not kept(tmp_path)
        weight.zero_()
        history.add(2, {"loss": 2.0})
        history.kept_values["similarity"] = 0.5
        writer.check()  # which waits for nothing
        gate.set()
    found = newest_state(tmp_path, "one", Silent())
    assert found is not None
    assert torch.equal(found.adapter["w"], wanted)
    assert torch.equal(found.moments["w.exp_avg"], wanted * 2)
    assert torch.equal(found.methods["m.safetensors"]["w"], wanted)
    assert [row.value for row in found.history.rows] == [1.0]
    assert found.history.kept_values["similarity"] is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREAD)]


def test_the_next_waits_for_the_one_before_and_old_ones_go(
    writer: CheckpointWriter, gate: threading.Event, tmp_path: Path
) -> None:
    weight = torch.zeros(2)

    def train() -> None:
        with writer:
            for step in (1, 2, 3):
                weight.fill_(step)
                write(writer, step, weight)
                begun.append(step)

    begun: list[int] = []
    training = threading.Thread(target=train)
    training.start()
    training.join(0.2)
    assert begun == [1]
    gate.set()
    training.join(60)
    assert begun == [1, 2, 3]
    assert kept(tmp_path) == [3, 2]
    written = [read_tensors(folder / ADAPTER_FILE)[0]["w"].tolist() for folder in checkpoints(tmp_path)]
    assert written == [[3, 3], [2, 2]]


def test_the_best_one_stays_when_its_eval_loss_is_known(tmp_path: Path) -> None:
    history = History()
    with CheckpointWriter(tmp_path, TrainSettings(keep_checkpoints=1, keep_best=1), pinned=False) as writer:
        for step, loss in ((1, 0.5), (2, 0.7), (3, 0.6)):
            write(writer, step, torch.ones(1), history)
            history.add(step, {"eval/loss": loss})
    assert kept(tmp_path) == [3, 1]


@pytest.mark.parametrize("asked", ["check", "write", "wait", "end"])
def test_an_error_is_raised_by_whatever_is_asked_next(
    asked: str, writer: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(checkpoint_writer, "save_state", full)

    def ask() -> None:
        write(writer, 1, torch.ones(1))
        if asked == "check":
            for thread in threading.enumerate():
                if thread.name.startswith(THREAD):
                    thread.join()
            writer.check()
        elif asked == "write":
            write(writer, 2, torch.ones(1))
        elif asked == "wait":
            writer.wait()
        else:
            return
        pytest.fail("it was not raised")

    with pytest.raises(StorageError, match="the disk is full"), writer:
        ask()
    writer.check()  # once


def test_a_lora_that_is_refused_is_not_written(writer: CheckpointWriter, tmp_path: Path) -> None:
    def refuse(tensors: Mapping[str, Tensor]) -> None:
        raise CheckpointError(f"{sorted(tensors)} does nothing")

    with pytest.raises(CheckpointError, match="lora"), writer:
        writer.write(state(1, torch.ones(1)), {"lora": torch.zeros(1)}, {}, refuse)
    assert not kept(tmp_path)


def test_copies_are_exact_whatever_the_form_and_take_over_the_memory_of_the_ones_before() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "turned": torch.randn(4, 6, generator=generator).T,
        "number": torch.tensor(3.0),
        "codes": torch.arange(7, dtype=torch.uint8),
        "none": torch.empty(0, 3),
        "half": torch.randn(5, generator=generator).bfloat16(),
    }
    memory = HostCopies(pinned=False)
    (first, second), again = memory.copies([tensors, {"half": tensors["half"]}]), memory.copies([tensors])[0]
    for name, tensor in tensors.items():
        assert first[name].dtype == tensor.dtype
        assert torch.equal(first[name], tensor)
    assert torch.equal(second["half"], tensors["half"])
    assert again["half"].data_ptr() == first["half"].data_ptr()
