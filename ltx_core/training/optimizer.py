"""The optimizer that the settings name, and its moments by parameter, so that they can be stored and put back."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from ltx_core.errors import CheckpointError
from ltx_core.training.config import TrainSettings
from ltx_core.training.optimizers.adamw import AdamW
from ltx_core.training.optimizers.low_precision import adamw8bit, adamw_bf16


class Optimizer(Protocol):
    """What a step needs of an optimizer; it knows its parameters by name."""

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of what is stored of each parameter."""

    def step(self, learning_rate: float) -> None:
        """Update every parameter that has a gradient."""

    def state(self) -> dict[str, Tensor]:
        """Everything the next step depends on, as `<parameter>.<moment>`."""

    def restore(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put moments back, given by parameter and moment."""


MAKERS: dict[str, Callable[[Mapping[str, torch.nn.Parameter], TrainSettings], Optimizer]] = {
    "adamw": AdamW,
    "adamw_bf16": adamw_bf16,
    "adamw8bit": adamw8bit,
}


def make_optimizer(parameters: Mapping[str, torch.nn.Parameter], settings: TrainSettings) -> Optimizer:
    """The optimizer; `adamw_bf16` casts the parameters to what it trains."""
    return MAKERS[settings.optimizer](parameters, settings)


def restore_moments(
    optimizer: Optimizer, parameters: Mapping[str, torch.nn.Parameter], stored: Mapping[str, Tensor]
) -> None:
    """Put stored moments back.

    Raises:
        CheckpointError: they belong to other parameters or another optimizer.
    """
    known = {f"{name}.{moment}" for name in parameters for moment in optimizer.moments}
    if foreign := sorted(stored.keys() - known):
        raise CheckpointError(f"optimizer state for {foreign[:3]}, which are not trained; delete that checkpoint")
    found: dict[str, dict[str, Tensor]] = {}
    for name in parameters:
        own = {moment: stored[f"{name}.{moment}"] for moment in optimizer.moments if f"{name}.{moment}" in stored}
        if own and len(own) != len(optimizer.moments):
            raise CheckpointError(f"optimizer state of {name} has only {sorted(own)}; delete that checkpoint")
        if own:
            found[name] = own
    optimizer.restore(found)
