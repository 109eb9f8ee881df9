"""Checkpoints, moments and histories survive, and damage is seen."""

import json
from pathlib import Path

import pytest
import torch

from ltx_core.errors import CheckpointError
from ltx_core.training.metrics import History, SampleLoss, StepRecord, summarise
from ltx_core.training.order import Position
from ltx_core.training.state import TrainState, newest_state, restore_adapter, save_state


class Notes:
    """Progress that remembers its notes."""

    stopping = False

    def __init__(self) -> None:
        self.notes: list[str] = []

    def advance(self, done: int, total: int, unit: str) -> None:
        return

    def metrics(self, step: int, values: object) -> None:
        return

    def note(self, message: str) -> None:
        self.notes.append(message)


def record(*losses: tuple[str, float, float]) -> StepRecord:
    return StepRecord(1e-4, {"all": 2.0}, tuple(SampleLoss(*loss) for loss in losses))


def state(step: int, digest: str = "one") -> TrainState:
    history = History()
    history.add(step, {"loss": 0.1 + step})
    history.pending.append(record(("video", 0.3, 1 / 3)))
    return TrainState(step, Position(1, 2), digest, history, {"w": torch.full((2,), float(step))}, {"m": torch.ones(1)})


def save(root: Path, step: int, digest: str = "one") -> Path:
    return save_state(root, state(step, digest), {"lora": torch.ones(1)}, {"format": "pt"})


def test_newest_whole_checkpoint_comes_back_exactly(tmp_path: Path) -> None:
    for step in (5, 10):
        save(tmp_path, step)
    found = newest_state(tmp_path, "one", Notes())
    assert found is not None
    assert (found.step, found.position) == (10, Position(1, 2))
    assert found.history == state(10).history
    assert torch.equal(found.adapter["w"], torch.full((2,), 10.0))
    assert newest_state(tmp_path / "empty", "one", Notes()) is None


def test_figures_of_methods_come_back_exactly_and_under_the_names_of_old_checkpoints() -> None:
    rolled = {"rollout": (0.1, 1 / 3, None, None)}
    losses = (SampleLoss("video", 0.5, 1.0, rolled), SampleLoss("audio", 0.25, 2.0))
    history = History(pending=[StepRecord(1e-4, {"all": 2.0}, losses, {"crepa": {"alignment": 0.7}})])
    history.kept_values["similarity"] = 0.3
    stored = json.loads(json.dumps(history.to_json()))
    assert History.from_json(stored) == history
    assert stored == {
        "rows": [],
        "pending": [
            {
                "learning_rate": 1e-4,
                "grad_norms": {"all": 2.0},
                "losses": [["video", 0.5, 1.0, [0.1, 1 / 3, None, None]], ["audio", 0.25, 2.0, None]],
                "crepa": {"alignment": 0.7},
            }
        ],
        "similarity": 0.3,
    }
    del stored["similarity"], stored["pending"][0]["crepa"]
    stored["pending"][0]["losses"] = [["video", 0.5, 1.0]]
    older = History.from_json(stored)
    assert older.pending == [StepRecord(1e-4, {"all": 2.0}, (SampleLoss("video", 0.5, 1.0),))]
    assert older.kept_values == {"similarity": None}


@pytest.mark.parametrize("damage", ["truncate", "missing", "no state", "half state"])
def test_damaged_checkpoint_is_named_and_passed_over(damage: str, tmp_path: Path) -> None:
    save(tmp_path, 5)
    newest = save(tmp_path, 10)
    if damage == "truncate":
        file = newest / "adapter.safetensors"
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "missing":
        (newest / "optimizer.safetensors").unlink()
    elif damage == "no state":
        (newest / "state.json").unlink()
    else:
        (newest / "state.json").write_text('{"version": 1, "st')
    notes = Notes()
    found = newest_state(tmp_path, "one", notes)
    assert found is not None
    assert found.step == 5
    assert "step-000010" in notes.notes[0]
    assert save(tmp_path, 10) == newest  # the damaged one is replaced
    again = newest_state(tmp_path, "one", notes)
    assert again is not None
    assert again.step == 10


def test_other_configuration_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 5, "one")
    with pytest.raises(CheckpointError, match=r"configuration one.*this run is two"):
        newest_state(tmp_path, "two", Notes())


def test_foreign_adapter_is_refused() -> None:
    with pytest.raises(CheckpointError, match="differs"):
        restore_adapter({"a": torch.nn.Parameter(torch.ones(2))}, {"a": torch.ones(3)})


def test_summary_means_what_it_says() -> None:
    records = [record(("video", 0.1, 1.0), ("audio", 0.6, 5.0)), record(("video", 0.2, 3.0), ("video", 1.0, 8.0))]
    assert summarise(records) == {
        "loss/video": 4.0,
        "loss/video/sigma_q1": 2.0,
        "loss/video/sigma_q4": 8.0,
        "loss/audio": 5.0,
        "loss/audio/sigma_q3": 5.0,
        "loss": 9.0,
        "grad_norm/all": 2.0,
        "learning_rate": 1e-4,
    }
    assert "loss/audio" not in summarise([record(("video", 0.5, 1.0))])
