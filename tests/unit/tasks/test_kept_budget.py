"""The share of activations that a run keeps is chosen once, unless it is asked for or the run begins anew."""

from pathlib import Path

import pytest

from ltx_core.errors import DamagedError
from ltx_core.training.config import TrainSettings
from tasks.stages.train_lora import forget_budget, keep_budget, with_kept_budget


def test_a_resumed_run_has_the_share_that_was_chosen(tmp_path: Path) -> None:
    left_open = TrainSettings()
    assert with_kept_budget(left_open, tmp_path) == left_open
    keep_budget(TrainSettings(activation_budget=0.35), tmp_path)
    assert with_kept_budget(left_open, tmp_path).activation_budget == 0.35
    assert with_kept_budget(left_open, tmp_path).activation_checkpointing == "auto"
    forget_budget(tmp_path)
    assert with_kept_budget(left_open, tmp_path) == left_open


def test_what_is_asked_for_stays(tmp_path: Path) -> None:
    keep_budget(TrainSettings(activation_budget=0.35), tmp_path)
    assert with_kept_budget(TrainSettings(activation_budget=1.0), tmp_path).activation_budget == 1.0


def test_a_damaged_one_is_named_and_not_chosen_anew_in_silence(tmp_path: Path) -> None:
    keep_budget(TrainSettings(activation_budget=0.35), tmp_path)
    file = tmp_path / "activation_budget.json"
    file.write_text(file.read_text().replace("0.35", "0.45"))
    with pytest.raises(DamagedError, match=r"activation_budget\.json is damaged"):
        with_kept_budget(TrainSettings(activation_budget="auto"), tmp_path)
