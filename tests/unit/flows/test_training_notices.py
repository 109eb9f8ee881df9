"""Warnings of what is likely not meant, from the configuration alone."""

from typing import Any

import pytest

from flows.config import load_config
from flows.plan import as_configured
from ltx_core.errors import ConfigError
from tasks import STAGES
from tests.unit.flows.conftest import Write


def told(write: Write, **sections: Any) -> list[str]:
    config = load_config(write(**sections), {})
    return [line for stage in STAGES for line in stage.warnings(as_configured(stage, config))]


def dataset(**video: Any) -> dict[str, Any]:
    return {"id": "clips", "instance_data_dir": "footage", "video": video}


def test_frame_rates_that_differ_are_told(write: Write) -> None:
    assert not told(write, datasets=[dataset(frame_rate=25)])
    (line,) = told(write, datasets=[dataset(frame_rate=30)])
    assert "dataset clips has 30 frames a second and render_validation 25" in line
    assert not told(write, datasets=[dataset(frame_rate=30)], render_validation={"frame_rate": 30})


def test_frames_that_the_vae_does_not_take_are_told(write: Write) -> None:
    (line,) = told(write, datasets=[dataset(num_frames=61)])
    assert "num_frames 61 becomes 57" in line
    assert not told(write, datasets=[dataset(num_frames=57)])


def test_batches_on_small_cards_are_told(write: Write) -> None:
    (line,) = told(write, train_lora={"batch_size": 2, "offloaded_blocks": "all"})
    assert "batch_size is 2 while all blocks wait on the host" in line
    assert not told(write, train_lora={"batch_size": 2})
    assert not told(write, train_lora={"offloaded_blocks": 8})
    (line,) = told(write, train_lora={"batch_size": 2}, memory={"gpu_gib": 24})
    assert "batch_size is 2 while the GPU has 24 GiB" in line
    assert not told(write, train_lora={"batch_size": 2}, memory={"gpu_gib": 80})


def test_what_rollouts_cost_is_told(write: Write) -> None:
    (line,) = told(write, train_lora={"rollout": {"probability": 0.5, "num_model_calls": 2, "reflexflow": True}})
    assert "3 forwards without gradients to 50% of the samples: expect steps of 1.50" in line
    assert "to 1.75 times the time" in line
    (line,) = told(write, train_lora={"rollout": {}})
    assert "adds 1 forward without gradients to 50%" in line


def test_a_plan_without_any_sound_says_that_pictures_are_trained_alone(write: Write) -> None:
    def of_training(**sections: Any) -> list[str]:
        config = load_config(write(**sections), {})
        (stage,) = (stage for stage in STAGES if stage.name == "train_lora")
        return list(stage.memory(as_configured(stage, config)))

    mute = {**dataset(), "audio": {"auto_split": False}}
    (line,) = of_training(datasets=[mute])
    assert line.startswith("no clip that is trained on has audio, so only the video is trained")
    assert "modalities video" in line
    assert not of_training(datasets=[mute], train_lora={"modalities": "video"})
    assert not of_training(datasets=[mute, {**dataset(), "id": "others"}])
    with pytest.raises(ConfigError, match="targets is 'audio' and no clip has audio"):
        of_training(datasets=[mute], train_lora={"targets": "audio"})


@pytest.mark.parametrize(
    ("prompt", "still"),
    [
        ("A sign that says hello world", True),
        ("a red house on a hill, photo", True),
        ("camera pans right", False),
        ("zoom in", False),
        ("A man is running", False),
        ("Waves crash", False),
    ],
)
def test_prompts_without_motion_are_hinted_at(write: Write, prompt: str, still: bool) -> None:
    lines = told(write, prompts={"validation": [prompt, "A dog runs."]})
    assert len(lines) == still
    assert all(line.startswith("hint: 1 of 2 prompts") for line in lines)
