"""AdamW that computes in float32 and stores less: the moments, and where asked the weights, rounded by chance.

PyTorch has no such optimizer. torchao's compiles one function for each parameter shape and launches it once for each of
the 2,304 matrices of a LoRA on all attention, and rounds with the global generator, so a resumed run would differ. Here
parameters are laid end to end and updated a few million at a time; rounding is a function of seed and step.

Why so: docs/decisions/own_optimizers.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ltx_core.training.config import TrainSettings
from ltx_core.training.optimizers.moments import BLOCK, Bf16Moment, BlockwiseMoment, MomentStore
from ltx_core.training.optimizers.rounding import step_generator, stochastic_bf16

RUN_SIZE = 2**23
"""Most values updated at once; a few float32 temporaries of this many."""
MomentPair = tuple[MomentStore, MomentStore]


class Place(NamedTuple):
    """Where a parameter lies in its run, padded to whole blocks."""

    name: str
    parameter: torch.nn.Parameter
    part: slice


@dataclass(frozen=True)
class Run:
    """Parameters laid end to end, and their moments."""

    places: tuple[Place, ...]
    first: MomentStore
    second: MomentStore


class LowPrecisionAdamW:
    """AdamW over runs of parameters. Its state is stored by parameter, so it does not depend on the runs' size."""

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        settings: TrainSettings,
        new_moments: Callable[[int, torch.device], MomentPair],
        endings: tuple[str, ...],
    ) -> None:
        self.settings = settings
        self.moments = (
            *(f"exp_avg{ending}" for ending in endings),
            *(f"exp_avg_sq{ending}" for ending in endings),
            "step",
        )
        self.runs = tuple(
            Run(places, *new_moments(places[-1].part.stop, places[0].parameter.device)) for places in _runs(parameters)
        )
        self.steps = dict.fromkeys(parameters, 0)
        """Updates of each parameter."""

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Update every parameter that has a gradient."""
        generators: dict[torch.device, torch.Generator] = {}
        taken = max(self.steps.values())
        for run in self.runs:
            device = run.places[0].parameter.device
            if device not in generators:
                generators[device] = step_generator(self.settings.seed, taken, device)
            for places in self._together(run):
                self._update(run, places, learning_rate, generators[device])

    def state(self) -> dict[str, Tensor]:
        """Moments as `<parameter>.<moment>`; parameters that never had a gradient have none."""
        found: dict[str, Tensor] = {}
        for run in self.runs:
            for name, _, part in run.places:
                if self.steps[name]:
                    found[f"{name}.step"] = torch.tensor(float(self.steps[name]))
                    for moment, store in (("exp_avg", run.first), ("exp_avg_sq", run.second)):
                        found |= {f"{name}.{moment}{end}": value for end, value in store.tensors(part).items()}
        return found

    def restore(self, stored: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put moments back, given by parameter and moment."""
        for run in self.runs:
            for name, _, part in run.places:
                if name in stored:
                    self._restore_one(run, name, part, stored[name])

    def _restore_one(self, run: Run, name: str, part: slice, found: Mapping[str, Tensor]) -> None:
        self.steps[name] = int(found["step"].item())
        for moment, store in (("exp_avg", run.first), ("exp_avg_sq", run.second)):
            ends = [own.removeprefix(moment) for own in self.moments if own in (moment, f"{moment}_scale")]
            store.restore(part, {end: found[moment + end] for end in ends})

    def _together(self, run: Run) -> Iterator[tuple[Place, ...]]:
        """The whole run if each parameter has a gradient and as many updates, else one after the other."""
        alive = [place for place in run.places if place.parameter.grad is not None]
        if len(alive) == len(run.places) and len({self.steps[place.name] for place in alive}) == 1:
            yield run.places
        else:
            yield from ((place,) for place in alive)

    def _update(self, run: Run, places: tuple[Place, ...], learning_rate: float, generator: torch.Generator) -> None:
        part = slice(places[0].part.start, places[-1].part.stop)
        (first_decay, second_decay), settings = self.settings.betas, self.settings
        for place in places:
            self.steps[place.name] += 1
        count = self.steps[places[0].name]
        weights = _end_to_end(places, [place.parameter.detach() for place in places])
        gradients = _end_to_end(places, [place.parameter.grad for place in places if place.parameter.grad is not None])
        first = run.first.read(part).lerp_(gradients, 1 - first_decay)
        second = run.second.read(part).mul_(second_decay).addcmul_(gradients, gradients, value=1 - second_decay)
        divisor = (second.sqrt() / (1 - second_decay**count) ** 0.5).add_(settings.epsilon)
        weights.mul_(1 - learning_rate * settings.weight_decay)
        weights.addcdiv_(first, divisor, value=-learning_rate / (1 - first_decay**count))
        run.first.write(part, first, generator)
        run.second.write(part, second, generator)
        _hand_back(places, weights, generator)


def adamw_bf16(parameters: Mapping[str, torch.nn.Parameter], settings: TrainSettings) -> LowPrecisionAdamW:
    """Weights, gradients and moments in bfloat16: 8 bytes a weight instead of 16. Casts the parameters."""
    for parameter in parameters.values():
        parameter.data = parameter.data.bfloat16()

    def moments(size: int, device: torch.device) -> MomentPair:
        return Bf16Moment(size, device), Bf16Moment(size, device)

    return LowPrecisionAdamW(parameters, settings, moments, Bf16Moment.endings)


def adamw8bit(parameters: Mapping[str, torch.nn.Parameter], settings: TrainSettings) -> LowPrecisionAdamW:
    """Weights in float32, moments in 8 bits: 10 bytes a weight instead of 16, gradient included."""

    def moments(size: int, device: torch.device) -> MomentPair:
        return BlockwiseMoment(size, device, signed=True), BlockwiseMoment(size, device, signed=False)

    return LowPrecisionAdamW(parameters, settings, moments, BlockwiseMoment.endings)


def _runs(parameters: Mapping[str, torch.nn.Parameter]) -> Iterator[tuple[Place, ...]]:
    """Parameters of one device and dtype, in order of name, cut before `RUN_SIZE` values."""
    places: list[Place] = []
    end = 0
    for name, parameter in sorted(parameters.items()):
        padded = -(-parameter.numel() // BLOCK) * BLOCK
        kind = (parameter.device, parameter.dtype)
        if places and (end + padded > RUN_SIZE or kind != (places[0].parameter.device, places[0].parameter.dtype)):
            yield tuple(places)
            places, end = [], 0
        places.append(Place(name, parameter, slice(end, end + padded)))
        end += padded
    if places:
        yield tuple(places)


def _end_to_end(places: tuple[Place, ...], tensors: list[Tensor]) -> Tensor:
    """Float32 values of the places' tensors with zeros in the padding; a copy."""
    pieces = []
    for place, tensor in zip(places, tensors, strict=True):
        pieces.append(tensor.reshape(-1))
        missing = place.part.stop - place.part.start - tensor.numel()
        if missing:
            pieces.append(tensor.new_zeros(missing))
    joined = torch.cat(pieces)
    return joined.float() if joined.dtype != torch.float32 else joined


def _hand_back(places: tuple[Place, ...], weights: Tensor, generator: torch.Generator) -> None:
    """Write the updated weights to their parameters, rounding by chance where those are bfloat16."""
    if places[0].parameter.dtype == torch.bfloat16:
        weights = stochastic_bf16(weights, generator)
    start = places[0].part.start
    targets = [place.parameter.detach() for place in places]
    sources = [
        weights[place.part.start - start :][: target.numel()].view_as(target)
        for place, target in zip(places, targets, strict=True)
    ]
    torch._foreach_copy_(targets, sources)
