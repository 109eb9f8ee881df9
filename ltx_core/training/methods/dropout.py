"""Dropout before the LoRA: each sample's masks are named by a key that travels with it."""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from ltx_core.engine.dropout import dropout_key, set_dropout_key
from ltx_core.training.batch import TrainBatch
from ltx_core.training.methods.method import Forward, Setup, TrainingMethod
from ltx_core.training.order import SampleOccurrence

KEY = "dropout.key"
"""[B] int64."""


class Dropout(TrainingMethod):
    """Gives the adapter's layers, which do the dropping, the keys of the samples that come next."""

    name, example = "dropout", 0.3
    changes_blocks = True

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """As the contract says."""
        return cls(setup.settings.seed)

    def tensors(
        self, batch: TrainBatch, occurrences: Sequence[SampleOccurrence], loaded: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The names of the samples' masks."""
        keys = [
            dropout_key("dropout", self.seed, occurrence.number, occurrence.sample.clip_id)
            for occurrence in occurrences
        ]
        return {KEY: torch.tensor(keys)}

    def set_up(self, forward: Forward) -> None:
        """Name the masks of this forward, and of the backward that belongs to it."""
        if KEY in forward.extras:
            set_dropout_key(forward.transformer, forward.extras[KEY])
