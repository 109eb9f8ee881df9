"""Short jobs on clips that bring everything a method may ask for, on a base that the engine assembles."""

from pathlib import Path
from typing import Any

import torch

from ltx_core.training.config import TrainSettings
from ltx_core.training.run import TrainJob
from tests.numerics.training.conftest import (
    DEFAULT_CLIPS,
    FAST,
    REGISTERS,
    MemorySource,
    WithFeatures,
    build_connectors,
    build_transformer,
)
from tests.numerics.training.test_precisions import with_engine

MASKED = ("b", "large")
SHORT: dict[str, Any] = {"steps": 5, "max_eval_clips": 1, "eval_sigmas": 1}


class WithMasks(WithFeatures):
    """Some clips have a mask, too: half of the video counts a quarter."""

    masked = MASKED

    def load(self, clip_id: str) -> dict[str, torch.Tensor]:
        loaded = super().load(clip_id)
        if clip_id not in self.masked:
            return loaded
        mask = torch.ones(loaded["video"].shape[1:])
        mask[..., : mask.shape[2] // 2] = 0.25
        return {**loaded, "mask": mask}


def everything_job(folder: Path, **changes: Any) -> TrainJob:
    """A short job; a change to None leaves a setting out."""
    settings = {name: value for name, value in (FAST | SHORT | changes).items() if value is not None}
    return with_engine(
        TrainJob(
            settings=TrainSettings(**settings),
            source=WithMasks(MemorySource(list(DEFAULT_CLIPS))),  # type: ignore[arg-type]  # a source in all it does
            load_transformer=build_transformer,
            load_connectors=build_connectors,
            out_dir=folder,
            device="cpu",
            provenance={"base": "tiny 2.5"},
            context_length=REGISTERS,
        )
    )
