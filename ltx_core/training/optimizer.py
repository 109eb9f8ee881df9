"""The optimizer that the settings name, and its moments by parameter, so that they can be stored and put back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from ltx_core.engine.contiguous import adjacent, joined, lay_end_to_end, zeros_like_all
from ltx_core.errors import CheckpointError
from ltx_core.training.config import TrainSettings
from ltx_core.training.groups import rate_factors
from ltx_core.training.library_optimizers import Adafactor, Prodigy
from ltx_core.training.low_precision_adamw import adamw8bit, adamw_bf16

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class AdamW:
    """Weights and moments in float32: 16 bytes a trained weight, gradient included. One fused kernel on a GPU.

    Parameters are laid end to end, so that those whose gradients are too are updated as one.
    """

    moments: tuple[str, ...] = MOMENTS

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], settings: TrainSettings) -> None:
        self.parameters, self.settings = parameters, settings
        lay_end_to_end(list(parameters.values()))
        self._first, self._second = zeros_like_all(parameters), zeros_like_all(parameters)
        self._steps = dict.fromkeys(parameters, 0)
        """Updates of each parameter."""
        self._factors = rate_factors(parameters, settings)
        self._fused = all(parameter.is_cuda for parameter in parameters.values())

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Update every parameter that has a gradient."""
        runs = list(self._runs())
        for factor in dict.fromkeys(self._factors[names[0]] for names in runs):
            alike = [names for names in runs if self._factors[names[0]] == factor]
            self._update(alike, factor * self.settings.learning_rate_at(number))

    def _update(self, runs: Sequence[Sequence[str]], learning_rate: float) -> None:
        weights, gradients, first, second = zip(*(map(joined, self._of(names)) for names in runs), strict=True)
        taken = torch.tensor([float(self._steps[names[0]]) for names in runs], device=weights[0].device)
        adamw(
            list(weights),
            list(gradients),
            list(first),
            list(second),
            max_exp_avg_sqs=[],
            state_steps=list(taken.unbind()),
            foreach=False,
            fused=self._fused,
            amsgrad=False,
            beta1=self.settings.betas[0],
            beta2=self.settings.betas[1],
            lr=learning_rate,
            weight_decay=self.settings.weight_decay,
            eps=self.settings.epsilon,
            maximize=False,
        )
        for name in (name for names in runs for name in names):
            self._steps[name] += 1

    def figures(self) -> dict[str, float]:
        """Nothing: its learning rate is that of the settings."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Moments as `<parameter>.<moment>`; parameters that never had a gradient have none."""
        found: dict[str, Tensor] = {}
        for name in (name for name, taken in self._steps.items() if taken):
            parts = (self._first[name], self._second[name], torch.tensor(float(self._steps[name])))
            found |= {f"{name}.{moment}": part for moment, part in zip(MOMENTS, parts, strict=True)}
        return found

    def restore(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put moments back, given by parameter and moment."""
        for name, found in stored.items():
            self._first[name].copy_(found["exp_avg"])
            self._second[name].copy_(found["exp_avg_sq"])
            self._steps[name] = int(found["step"])

    def _runs(self) -> Iterator[list[str]]:
        """Names of parameters that are updated as one: they and their gradients are adjacent, updated as often and at
        one learning rate."""
        names = [name for name, parameter in self.parameters.items() if parameter.grad is not None]
        ends = {run.stop for tensors in self._of(names) for run in adjacent(tensors)}
        alike = [(self._steps[name], self._factors[name]) for name in names]
        ends |= {i for i in range(1, len(names)) if alike[i] != alike[i - 1]}
        begin = 0
        for end in sorted(ends):
            yield names[begin:end]
            begin = end

    def _of(self, names: Sequence[str]) -> tuple[list[Tensor], ...]:
        """Weights, gradients and moments, as PyTorch's function takes them."""
        weights: list[Tensor] = [self.parameters[name] for name in names]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        return weights, gradients, [self._first[name] for name in names], [self._second[name] for name in names]


class Optimizer(Protocol):
    """The interface of an optimizer; it knows its parameters by name."""

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of what is stored of each parameter."""

    def step(self, number: int) -> None:
        """Update every parameter that has a gradient, at the learning rate of optimizer step `number`, from 0,
        times its own of `rate_factors`."""

    def figures(self) -> dict[str, float]:
        """Return figures that it has found out for itself, by name, for the metrics."""

    def state(self) -> dict[str, Tensor]:
        """Everything the next step depends on, as `<parameter>.<moment>`."""

    def restore(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put moments back, given by parameter and moment."""


MAKERS: dict[str, Callable[[Mapping[str, torch.nn.Parameter], TrainSettings], Optimizer]] = {
    "adamw": AdamW,
    "adamw_bf16": adamw_bf16,
    "adamw8bit": adamw8bit,
    "prodigy": Prodigy,
    "adafactor": Adafactor,
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
