"""The weight of the audio's loss that follows from the losses so far."""

from typing import Any

import pytest
from pydantic import ValidationError

from ltx_core.training.config import TrainSettings
from ltx_core.training.metrics import (
    AVERAGE_DECAY,
    LEAST_WEIGHT,
    MOST_WEIGHT,
    History,
    SampleLoss,
    StepRecord,
    audio_weight,
    averaged,
    summarise,
)

THIRD = TrainSettings(audio_loss_ratio=1 / 3)


def losses(video: float | None, audio: float | None) -> list[SampleLoss]:
    found = {"video": video, "audio": audio}
    return [SampleLoss(name, 0.5, value) for name, value in found.items() if value is not None]


def test_the_weight_brings_the_audio_to_its_fraction() -> None:
    kept = averaged({}, losses(0.6, 1.2))
    assert audio_weight(THIRD, kept) == pytest.approx(0.6 / 3 / 1.2)
    kept = averaged(kept, losses(None, 0.2))  # a step without a loss of the video
    assert kept == {
        "average_loss/video": 0.6,
        "average_loss/audio": pytest.approx(AVERAGE_DECAY * 1.2 + (1 - AVERAGE_DECAY) * 0.2),
    }
    assert audio_weight(TrainSettings(audio_loss_weight=0.7), kept) == 0.7, "off, it is what is set"


def test_the_weight_is_bounded_and_one_until_both_are_measured() -> None:
    assert audio_weight(THIRD, {}) == audio_weight(THIRD, averaged({}, losses(0.5, None))) == 1
    assert audio_weight(THIRD, averaged({}, losses(0.5, 0.0))) == MOST_WEIGHT
    assert audio_weight(THIRD, averaged({}, losses(0.001, 9.0))) == LEAST_WEIGHT


def test_averages_and_weights_are_kept_with_a_checkpoint() -> None:
    history = History()
    history.kept_values |= averaged({}, losses(0.5, 1.0))
    history.pending.append(StepRecord(1e-4, {"all": 1.0}, tuple(losses(0.5, 1.0)), audio_weight=0.25))
    again = History.from_json(history.to_json())
    assert again == history
    assert summarise(again.pending)["loss_weight/audio"] == 0.25
    assert "loss_weight/audio" not in summarise([StepRecord(1e-4, {"all": 1.0}, tuple(losses(0.5, 1.0)))])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio_loss_weight": 2}, "give one of them"),
        ({"modalities": "video"}, "modalities 'video' leaves one loss"),
        ({"video_conditioning_probability": 1}, "video_conditioning_probability 1 leaves one loss"),
    ],
)
def test_a_ratio_wants_two_losses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings(audio_loss_ratio=0.5, **changes)


def test_settings_without_a_ratio_are_named_as_before() -> None:
    assert "audio_loss_ratio" not in TrainSettings().kept()
    assert TrainSettings(audio_loss_ratio=0.5).digest() != TrainSettings().digest()
