"""The batches of a run, and epochs as steps, once the clips are known."""

import math
from collections.abc import Sequence

from pydantic import ValidationError

from ltx_core.errors import ConfigError
from ltx_core.training.config import TrainSettings
from ltx_core.training.order import EpochPlan
from ltx_core.training.samples import SampleInfo


def epoch_plan(settings: TrainSettings, samples: Sequence[SampleInfo]) -> EpochPlan:
    """The batches of a run, of those samples that are trained on.

    Raises:
        DataError: there is none.
    """
    trained = tuple(sample for sample in samples if sample.split == "train")
    return EpochPlan(trained, settings.batch_size, settings.seed, by_sound=settings.modalities != "video")


def in_steps(settings: TrainSettings, samples: Sequence[SampleInfo]) -> TrainSettings:
    """The same settings with `steps` in the place of `epochs`, so that both give the same run.

    An epoch visits every clip of the train split `repeats` times; the last step may begin another.

    Raises:
        ConfigError: there are fewer steps than another setting needs.
        DataError: no clip is left to train on.
    """
    if settings.epochs is None:
        return settings
    plan = epoch_plan(settings, samples)
    batches = settings.epochs * plan.batches_per_epoch
    steps = math.ceil(batches / settings.gradient_accumulation_steps)
    try:
        return type(settings).model_validate(settings.model_dump() | {"steps": steps, "epochs": None})
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{settings.epochs} epochs are {steps} steps: {reason}; raise epochs") from error
