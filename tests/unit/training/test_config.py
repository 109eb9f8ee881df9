"""Settings: every field said and bounded, contradictions refused, no torch."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from ltx_core.training.config import FREE_TO_CHANGE, TrainSettings


def test_importing_it_does_not_load_torch() -> None:
    code = "import sys, ltx_core.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_field_is_described() -> None:
    assert all(field.description for field in TrainSettings.model_fields.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "constant", "warmup_steps": 5}, "constant_with_warmup"),
        ({"scheduler": "constant_with_warmup"}, "1 or more"),
        ({"scheduler": "linear", "warmup_steps": 11, "steps": 10}, "lower warmup_steps"),
        ({"final_learning_rate": 1e-5}, "does not fall"),
        ({"scheduler": "cosine", "final_learning_rate": 1e-2}, "above learning_rate"),
        ({"scheduler": "cosine", "polynomial_power": 2}, "use 'polynomial'"),
        ({"scheduler": "cosine", "scheduler_cycles": 2}, "cosine_with_restarts"),
        ({"modalities": "video", "targets": "audio+video"}, "never train"),
        ({"modalities": "video", "targets": "audio"}, "never train"),
        ({"targets": []}, "empty"),
        ({"epochs": 2, "steps": 10}, "give one of them"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"modalities": "video", "audio_loss_weight": 2}, "has one loss"),
        ({"lerning_rate": 1}, "Extra inputs"),
        ({"rank": 0}, "greater than or equal to 1"),
        ({"optimizer": "sgd"}, "adamw"),
        ({"target_blocks": "7-3"}, "range 7-3, which holds no block; write it as 3-7"),
        ({"target_blocks": "a"}, "should match pattern"),
        ({"target_blocks": ""}, "should match pattern"),
        ({"targets": "audio_ff", "modalities": "video"}, "never train"),
        ({"sigma_mean": 1}, "sigma_sampling 'shifted_logit_normal', which has neither"),
        ({"sigma_sampling": "uniform", "sigma_std": 2}, "sigma_sampling 'uniform', which has neither"),
        ({"betas": (0.9, 1.0)}, "less than 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings(**changes)


def test_defaults_follow_other_settings() -> None:
    assert TrainSettings(rank=8).lora_alpha == 8
    assert TrainSettings(rank=8, alpha=4).lora_alpha == 4
    assert TrainSettings().lora_targets == "audio+video"
    assert TrainSettings(modalities="video").lora_targets == "video"
    assert TrainSettings(targets=["attn1.to_q"]).lora_targets == ("attn1.to_q",)


def test_blocks_are_ranges_and_numbers() -> None:
    assert TrainSettings().only_blocks is None
    assert TrainSettings(target_blocks="0-2, 7,9-9").only_blocks == {0, 1, 2, 7, 9}


def test_digest_names_what_decides_the_lora() -> None:
    one = TrainSettings()
    assert one.digest() == TrainSettings(checkpoint_interval=7, keep_checkpoints=1).digest()
    others: dict[str, Any] = {"seed": 1, "learning_rate": 2e-4, "rank": 8, "eval_sigmas": 2, "dtype": "fp32"}
    assert len({one.digest(), *(TrainSettings(**{k: v}).digest() for k, v in others.items())}) == 1 + len(others)
    assert set(TrainSettings.model_fields) >= FREE_TO_CHANGE
