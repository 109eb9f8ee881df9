"""The exponential moving average of the adapter over steps (Polyak and Juditsky 1992; warm-up as in TensorFlow's)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor

from ltx_core.training.methods.method import KeptValues, Setup, TrainingMethod

WARMUP = 10
"""The first steps have less of a past: the decay is at most (1 + n) / (WARMUP + n) after n steps."""


class Ema(TrainingMethod):
    """Averages of the adapter's parameters, in float32 whatever the parameters are; they depend on the steps alone."""

    name, example = "ema", 0.9
    state_file = "average.safetensors"

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self._values: dict[str, Tensor] = {}

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """As the contract says."""
        assert setup.settings.ema_decay is not None  # or the method would be off
        return cls(setup.adapter, setup.settings.ema_decay)

    def start(self) -> None:
        """The averages begin at the parameters."""
        self._values = {name: parameter.detach().float().clone() for name, parameter in self._parameters.items()}

    def after_step(self, step: int, figures: Mapping[str, float], kept: KeptValues) -> None:
        """Take in the parameters after optimizer step `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (WARMUP + step))
        values = list(self._values.values())
        new = [parameter.detach().float() for parameter in self._parameters.values()]
        torch._foreach_lerp_(values, new, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """The averages by parameter, float32."""
        return dict(self._values)

    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """Put averages back, of the same parameters."""
        for name, value in self._values.items():
            value.copy_(stored[name])

    @contextmanager
    def exported(self) -> Iterator[None]:
        """While inside, the parameters have the averages' values, at the same addresses; afterwards their own again."""
        own = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        _fill(self._parameters, self._values)
        try:
            yield
        finally:
            _fill(self._parameters, own)


def _fill(parameters: Mapping[str, torch.nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.data.copy_(values[name])
