"""Which checkpoints survive, and that a death among them leaves whole ones."""

import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from ltx_core.io.atomic import remove_partials
from ltx_core.progress import Silent
from ltx_core.training.config import TrainSettings
from ltx_core.training.metrics import History
from ltx_core.training.order import Position
from ltx_core.training.state import TrainState, checkpoints, newest_state, prune, save_state, step_of


def save(root: Path, *steps: int) -> None:
    for step in steps:
        state = TrainState(step, Position(0, step), "one", History(), {"w": torch.ones(2)}, {"m": torch.ones(1)})
        save_state(root, state, {"lora": torch.ones(1)}, {"format": "pt"})


def history(losses: dict[int, float]) -> History:
    found = History()
    for step, loss in losses.items():
        found.add(step, {"eval/loss": loss})
    return found


def kept(root: Path) -> list[int]:
    return [step_of(folder) for folder in checkpoints(root)]


@pytest.mark.parametrize(
    ("keep_checkpoints", "keep_best", "wanted"),
    [(2, 0, [40, 30]), (1, 1, [40, 10]), (1, 2, [40, 20, 10]), (3, 1, [40, 30, 20, 10]), (1, 9, [40, 20, 10])],
)
def test_newest_and_best_stay(keep_checkpoints: int, keep_best: int, wanted: list[int], tmp_path: Path) -> None:
    """Step 30 was never measured; 10 and 20 are equally good, so the earlier comes first."""
    save(tmp_path, 10, 20, 30, 40)
    settings = TrainSettings(keep_checkpoints=keep_checkpoints, keep_best=keep_best)
    prune(tmp_path, 40, history({0: 9.0, 10: 1.0, 20: 1.0, 40: 2.0}), settings)
    assert kept(tmp_path) == wanted
    assert not list(tmp_path.glob(".partial*"))


def test_damaged_later_checkpoint_does_not_push_the_newest_out(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    (tmp_path / "step-000020" / "state.json").write_text("torn")
    save(tmp_path, 15)
    prune(tmp_path, 15, History(), TrainSettings(keep_checkpoints=1))
    assert kept(tmp_path) == [15]


def test_killed_while_pruning_leaves_whole_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10, 20, 30)

    def die_half_way(folder: Path, *_: Any, **__: Any) -> None:
        (Path(folder) / "adapter.safetensors").unlink()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(shutil, "rmtree", die_half_way)
    arguments = (tmp_path, 30, history({10: 3.0, 20: 1.0}), TrainSettings(keep_checkpoints=1))
    child = multiprocessing.get_context("fork").Process(target=prune, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    monkeypatch.undo()
    assert kept(tmp_path) == [30, 20]  # 10 is renamed before a byte of it goes
    found = newest_state(tmp_path, "one", Silent())
    assert found is not None
    assert found.step == 30
    assert remove_partials(tmp_path) == 1
