"""Epochs as steps."""

import pytest

from ltx_core.errors import ConfigError, DataError
from ltx_core.training.config import TrainSettings
from ltx_core.training.order import in_steps
from ltx_core.training.samples import ClipInfo


def clips(*repeats: int, split: str = "train") -> list[ClipInfo]:
    return [ClipInfo(f"{split}{i}", "a", split, times, 24.0, True, "") for i, times in enumerate(repeats)]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"epochs": 1}, 6),
        ({"epochs": 3}, 18),
        ({"epochs": 1, "batch_size": 4}, 2),
        ({"epochs": 3, "batch_size": 4, "gradient_accumulation_steps": 4}, 2),
        ({"steps": 7}, 7),
    ],
)
def test_epochs_are_steps(settings: dict[str, int], steps: int) -> None:
    """Three clips of 1, 2 and 3 occurrences; the held-out one is not counted."""
    asked = TrainSettings.model_validate(settings)
    found = in_steps(asked, [*clips(1, 2, 3), *clips(9, split="eval")])
    assert (found.steps, found.epochs) == (steps, None)
    assert found == asked.model_copy(update={"steps": steps, "epochs": None}), "nothing else changes"


def test_too_few_steps_for_the_warmup_are_told() -> None:
    settings = TrainSettings(epochs=1, scheduler="cosine", warmup_steps=10)
    assert in_steps(settings, clips(10)).steps == 10
    with pytest.raises(ConfigError, match="1 epochs are 9 steps: warmup_steps is 10 but steps 9"):
        in_steps(settings, clips(9))


def test_no_clip_is_an_error() -> None:
    with pytest.raises(DataError, match="no clip is left"):
        in_steps(TrainSettings(epochs=1), clips(1, split="eval"))
