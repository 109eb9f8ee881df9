"""The optimizer that the settings name, and its moments by parameter, so that they can be stored and put back.

PyTorch's AdamW, Prodigy and Adafactor are computed by their libraries' own code, which is given the parameters so that
few kernels are launched. What a step needs of the steps before is kept here by parameter, so that a resumed run goes on
to the same bytes, whatever lies beside a parameter in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from ltx_core.engine.contiguous import adjacent, joined, lay_end_to_end, zeros_like_all
from ltx_core.errors import CheckpointError
from ltx_core.training.config import TrainSettings
from ltx_core.training.low_precision_adamw import RUN_SIZE, adamw8bit, adamw_bf16
from ltx_core.training.methods.registry import group_of, rate_factors

Parameters = Mapping[str, torch.nn.Parameter]
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class AdamW:
    """Weights and moments in float32: 16 bytes a trained weight, gradient included. One fused kernel on a GPU.

    Parameters are laid end to end, so that those whose gradients are too are updated as one.
    """

    moments: tuple[str, ...] = MOMENTS

    def __init__(self, parameters: Parameters, settings: TrainSettings) -> None:
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


class Prodigy:
    """Adam whose learning rate is an estimate `d` of the distance to the solution, times that of the settings.

    Source: Mishchenko and Defazio, arXiv 2306.06101, in the authors' library, with the bias correction and the
    safeguard for warm-ups that they advise for diffusion models. 28 bytes a weight, gradient included.

    `d` belongs to all parameters of one learning rate; those of another have an estimate of their own. Parameters of a
    stream are laid end to end and given as one, which changes nothing: the library treats every value alike, and sums
    over all of them.
    """

    VALUES = ("exp_avg", "exp_avg_sq", "s", "p0")
    """State of every value of a parameter, as the library names it."""
    ESTIMATE = ("d", "d_max", "d_numerator", "k")
    """State of all parameters of one learning rate; stored beside each of them."""
    moments: tuple[str, ...] = (*VALUES, "step", *ESTIMATE)

    def __init__(self, parameters: Parameters, settings: TrainSettings) -> None:
        self.settings = settings
        self._factors = rate_factors(parameters, settings)
        order = sorted(parameters, key=lambda name: (self._factors[name], group_of(name)))
        self.parameters = {name: parameters[name] for name in order}
        lay_end_to_end(list(self.parameters.values()))
        self._values = {name: zeros_like_all(self.parameters) for name in self.VALUES}
        self._steps = dict.fromkeys(order, 0)
        self._estimates: dict[float, dict[str, float]] = {}

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Update every parameter that has a gradient."""
        rate = self.settings.learning_rate_at(number)
        present = [name for name, parameter in self.parameters.items() if parameter.grad is not None]
        for factor in dict.fromkeys(self._factors[name] for name in present):
            self._update([name for name in present if self._factors[name] == factor], factor, factor * rate)

    def _update(self, names: Sequence[str], factor: float, learning_rate: float) -> None:
        from prodigyopt import Prodigy as Library

        for name in names:
            if not self._steps[name]:
                self._values["p0"][name].copy_(self.parameters[name])
        runs = list(self._runs(names))
        flat = [torch.nn.Parameter(joined([self.parameters[n].detach() for n in run]), False) for run in runs]
        library = Library(
            flat,
            lr=learning_rate,
            betas=self.settings.betas,
            eps=self.settings.epsilon,
            use_bias_correction=True,
            safeguard_warmup=True,
        )
        group = library.param_groups[0]
        group["weight_decay"] = self.settings.weight_decay  # given above, the library would print a line for each step
        group |= self._estimates.get(factor, {})
        for run, parameter in zip(runs, flat, strict=True):
            parameter.grad = _flat([self.parameters[name].grad for name in run]).view_as(parameter)
            kept = {value: joined([self._values[value][name] for name in run]) for value in self.VALUES}
            shaped = {name: kept[name].view_as(parameter) for name in ("exp_avg", "exp_avg_sq")}
            library.state[parameter] = {
                **shaped,
                "s": kept["s"].view(-1),
                "p0": kept["p0"].view(-1),
                "step": self._steps[run[0]],
            }
        library.step()
        self._estimates[factor] = {name: group[name] for name in self.ESTIMATE}
        for name in names:
            self._steps[name] += 1

    def _runs(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Names that are given as one: their weights are adjacent, and they were updated as often."""
        for run in adjacent([self.parameters[name].detach() for name in names]):
            begin = run.start
            for end in range(run.start + 1, run.stop + 1):
                if end == run.stop or self._steps[names[end]] != self._steps[names[begin]]:
                    yield list(names[begin:end])
                    begin = end

    def figures(self) -> dict[str, float]:
        """`d`, or where streams have learning rates of their own that of each."""
        groups = {
            factor: sorted({group_of(n) for n, own in self._factors.items() if own == factor})
            for factor in self._estimates
        }
        alone = len(set(self._factors.values())) == 1
        return {"d" if alone else f"d/{'+'.join(groups[f])}": found["d"] for f, found in self._estimates.items()}

    def state(self) -> dict[str, Tensor]:
        """As `<parameter>.<moment>`; parameters that never had a gradient have none."""
        found: dict[str, Tensor] = {}
        for name in (name for name, taken in self._steps.items() if taken):
            found |= {f"{name}.{value}": self._values[value][name] for value in self.VALUES}
            found[f"{name}.step"] = torch.tensor(float(self._steps[name]))
            numbers = self._estimates[self._factors[name]]
            found |= {f"{name}.{key}": torch.tensor(float(numbers[key]), dtype=torch.float64) for key in self.ESTIMATE}
        return found

    def restore(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put it back, given by parameter and moment."""
        for name, found in stored.items():
            for value in self.VALUES:
                self._values[value][name].copy_(found[value])
            self._steps[name] = int(found["step"])
            numbers = {key: float(found[key]) for key in self.ESTIMATE}
            self._estimates[self._factors[name]] = numbers | {"k": int(numbers["k"])}


class Adafactor:
    """Second moments of a matrix as the product of one number a row and one a column, and no first moment; steps are
    clipped by their own size. 8 bytes a weight, gradient included.

    Source: Shazeer and Stern, arXiv 1804.04235, in PyTorch. Steps are as long as the learning rate, and not relative to
    the weights, of which half are zero in a LoRA that begins.
    """

    VALUES = ("row_var", "col_var", "variance")
    """Of a matrix the first two, of any other tensor the third; the others are stored empty."""
    moments: tuple[str, ...] = (*VALUES, "step")

    def __init__(self, parameters: Parameters, settings: TrainSettings) -> None:
        self.parameters, self.settings = parameters, settings
        self._factors = rate_factors(parameters, settings)
        self._state: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Update every parameter that has a gradient."""
        rate = self.settings.learning_rate_at(number)
        for names in self._parts():
            chosen = [self.parameters[name] for name in names]
            library = torch.optim.Adafactor(
                chosen,
                lr=self._factors[names[0]] * rate,
                eps=(None, 1.0),  # the least size of weights that a step is relative to
                weight_decay=self.settings.weight_decay,
                foreach=all(parameter.is_cuda for parameter in chosen),
            )
            library.state.update(
                {parameter: self._state.setdefault(name, {}) for name, parameter in zip(names, chosen, strict=True)}
            )
            library.step()

    def _parts(self) -> Iterator[list[str]]:
        """Names of parameters of one learning rate, so few values that what a step makes of them is small."""
        part: list[str] = []
        size, alike = 0, (None, 0.0)
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            kind: Any = (parameter.device, self._factors[name])
            if part and (kind != alike or size + parameter.numel() > RUN_SIZE):
                yield part
                part, size = [], 0
            part.append(name)
            size, alike = size + parameter.numel(), kind
        if part:
            yield part

    def figures(self) -> dict[str, float]:
        """Nothing beside the learning rate."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """As `<parameter>.<moment>`; parameters that never had a gradient have none."""
        return {
            f"{name}.{moment}": own.get(moment, torch.zeros(0))
            for name, own in self._state.items()
            for moment in self.moments
        }

    def restore(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put it back, given by parameter and moment."""
        for name, found in stored.items():
            device = self.parameters[name].device
            kept = {value: found[value].to(device) for value in self.VALUES if found[value].numel()}
            self._state[name] = kept | {"step": found["step"].cpu().clone()}


def _flat(gradients: Sequence[Tensor | None]) -> Tensor:
    """Gradients end to end: as they lie if they do, else a copy."""
    found = [gradient for gradient in gradients if gradient is not None]
    if all(gradient.is_contiguous() for gradient in found) and len(list(adjacent(found))) == 1:
        return joined(found)
    return torch.cat([gradient.reshape(-1) for gradient in found])


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


MAKERS: dict[str, Callable[[Parameters, TrainSettings], Optimizer]] = {
    "adamw": AdamW,
    "adamw_bf16": adamw_bf16,
    "adamw8bit": adamw8bit,
    "prodigy": Prodigy,
    "adafactor": Adafactor,
}


def make_optimizer(parameters: Parameters, settings: TrainSettings) -> Optimizer:
    """The optimizer; `adamw_bf16` casts the parameters to what it trains."""
    return MAKERS[settings.optimizer](parameters, settings)


def restore_moments(optimizer: Optimizer, parameters: Parameters, stored: Mapping[str, Tensor]) -> None:
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
