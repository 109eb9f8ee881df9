"""Rounding up or down at random, so that what is too small for one step is not lost over many.

PyTorch has no such optimizer. torchao's compiles one function for each parameter shape and launches it once for each of
the 2,304 matrices of a LoRA on all attention, and rounds with the global generator, so a resumed run would differ. Here
parameters are laid end to end and updated a few million at a time; rounding is a function of seed and step.

Why so: docs/decisions/own_optimizers.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ltx_core.io.digest import text_digest
from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.registry import rate_factors

LOW_BITS = 16
"""Bits of a float32 that a bfloat16 lacks."""


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """A generator whose stream is fixed by seed and step, so that a resumed run rounds as an undisturbed one."""
    digest = text_digest("rounding", str(seed), str(step))
    return torch.Generator(device).manual_seed(int(digest[:16], 16) >> 1)  # 63 bits: seeds are signed


def stochastic_bf16(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round float32 to one of its two bfloat16 neighbours; the nearer the likelier, so the mean is the value.

    Adding uniform noise below the last kept bit and cutting does that for both signs (Zamirai et al., arXiv
    2010.06192).
    """
    noise = torch.randint(1 << LOW_BITS, values.shape, generator=generator, device=values.device, dtype=torch.int32)
    bits = noise.add_(values.contiguous().view(torch.int32))
    return bits.bitwise_and_(-1 << LOW_BITS).view(torch.float32).bfloat16()


BLOCK = 256
"""Values that share a scale; parameters begin at a multiple of it."""


class MomentStore(Protocol):
    """A flat moment [N], read and written in parts that begin and end at multiples of `BLOCK`."""

    def read(self, part: slice) -> Tensor:
        """Float32 values of a part."""

    def write(self, part: slice, values: Tensor, generator: torch.Generator) -> None:
        """Store a part, with stochastic rounding."""

    def tensors(self, part: slice) -> dict[str, Tensor]:
        """The tensors that are stored of a part, by the endings of their names."""

    def restore(self, part: slice, stored: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""


class Bf16Moment:
    """2 bytes a value."""

    endings = ("",)

    def __init__(self, size: int, device: torch.device) -> None:
        self.values = torch.zeros(size, dtype=torch.bfloat16, device=device)

    def read(self, part: slice) -> Tensor:
        """Float32 values of a part."""
        return self.values[part].float()

    def write(self, part: slice, values: Tensor, generator: torch.Generator) -> None:
        """Store a part, with stochastic rounding: a decay of 0.999 moves a value by less than bfloat16 resolves."""
        self.values[part] = stochastic_bf16(values, generator)

    def tensors(self, part: slice) -> dict[str, Tensor]:
        """The values."""
        return {"": self.values[part]}

    def restore(self, part: slice, stored: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.values[part] = stored[""].to(self.values.device)


class BlockwiseMoment:
    """A byte a value: an index into a fixed table of numbers in [-1, 1], times the largest value of its block.

    Source of table and blocks: Dettmers et al., arXiv 2110.02861. Ours rounds stochastically between the two nearest
    entries, where theirs takes the nearest and so loses changes below half a step of the table.
    """

    endings = ("", "_scale")

    def __init__(self, size: int, device: torch.device, *, signed: bool) -> None:
        self.signed = signed
        self.table = dynamic_table(signed=signed).to(device)
        self.codes = torch.full((size,), zero_code(self.table), dtype=torch.uint8, device=device)
        self.scales = torch.zeros(size // BLOCK, device=device)

    def read(self, part: slice) -> Tensor:
        """Float32 values of a part."""
        return (self.table[self.codes[part].int()].view(-1, BLOCK) * self.scales[_blocks(part), None]).view(-1)

    def write(self, part: slice, values: Tensor, generator: torch.Generator) -> None:
        """Store a part, with stochastic rounding.

        A second moment above zero never becomes zero: the step would divide by it.
        """
        blocks = values.view(-1, BLOCK)
        scales = blocks.abs().amax(dim=1)
        relative = (blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).view(-1)
        upper = torch.bucketize(relative, self.table, out_int32=True).clamp_(1, len(self.table) - 1)
        low, high = self.table[upper - 1], self.table[upper]
        chance = torch.rand(relative.shape, generator=generator, device=relative.device)
        codes = upper - (chance >= (relative - low) / (high - low)).int()
        if not self.signed:
            codes = torch.where(relative > 0, codes.clamp(min=1), codes)
        self.codes[part] = codes.to(torch.uint8)
        self.scales[_blocks(part)] = scales

    def tensors(self, part: slice) -> dict[str, Tensor]:
        """Indexes and scales."""
        return {"": self.codes[part], "_scale": self.scales[_blocks(part)]}

    def restore(self, part: slice, stored: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.codes[part] = stored[""].to(self.codes.device)
        self.scales[_blocks(part)] = stored["_scale"].to(self.scales.device)


def dynamic_table(*, signed: bool) -> Tensor:
    """256 ascending numbers in [-1, 1] or [0, 1]: seven decades, each lower one with half the entries of the next."""
    entries = [0.0, 1.0]
    for decade in range(7):
        edges = torch.linspace(0.1, 1.0, 2 ** (decade + (0 if signed else 1)) + 1, dtype=torch.float64)
        middles = ((edges[1:] + edges[:-1]) / 2 * 10.0 ** (decade - 6)).tolist()
        entries += middles + ([-middle for middle in middles] if signed else [])
    return torch.tensor(sorted(entries))


def zero_code(table: Tensor) -> int:
    """Index of 0 in a table."""
    return int((table == 0).nonzero().item())


def _blocks(part: slice) -> slice:
    return slice(part.start // BLOCK, part.stop // BLOCK)


RUN_SIZE = 2**23
"""Most values updated at once; a few float32 temporaries of this many."""
MomentPair = tuple[MomentStore, MomentStore]


class Place(NamedTuple):
    """Where a parameter lies in its run, padded to whole blocks."""

    name: str
    parameter: torch.nn.Parameter
    part: slice


@dataclass(frozen=True)
class FlatSpan:
    """Parameters laid end to end, and their moments."""

    places: tuple[Place, ...]
    first: MomentStore
    second: MomentStore
    rate_factor: float
    """As `rate_factors` gives it; the same for all of them."""


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
        factors = rate_factors(parameters, settings)
        self.runs = tuple(
            FlatSpan(places, *new_moments(places[-1].part.stop, places[0].parameter.device), factor)
            for factor in sorted(set(factors.values()))
            for places in _runs({name: one for name, one in parameters.items() if factors[name] == factor})
        )
        self.steps = dict.fromkeys(parameters, 0)
        """Updates of each parameter."""

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Update every parameter that has a gradient."""
        learning_rate = self.settings.learning_rate_at(number)
        generators: dict[torch.device, torch.Generator] = {}
        taken = max(self.steps.values())
        for run in self.runs:
            device = run.places[0].parameter.device
            if device not in generators:
                generators[device] = step_generator(self.settings.seed, taken, device)
            for places in self._together(run):
                self._update(run, places, run.rate_factor * learning_rate, generators[device])

    def figures(self) -> dict[str, float]:
        """Nothing: its learning rate is that of the settings."""
        return {}

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

    def _restore_one(self, run: FlatSpan, name: str, part: slice, found: Mapping[str, Tensor]) -> None:
        self.steps[name] = int(found["step"].item())
        for moment, store in (("exp_avg", run.first), ("exp_avg_sq", run.second)):
            ends = [own.removeprefix(moment) for own in self.moments if own in (moment, f"{moment}_scale")]
            store.restore(part, {end: found[moment + end] for end in ends})

    def _together(self, run: FlatSpan) -> Iterator[tuple[Place, ...]]:
        """The whole run if each parameter has a gradient and as many updates, else one after the other."""
        alive = [place for place in run.places if place.parameter.grad is not None]
        if len(alive) == len(run.places) and len({self.steps[place.name] for place in alive}) == 1:
            yield run.places
        else:
            yield from ((place,) for place in alive)

    def _update(
        self, run: FlatSpan, places: tuple[Place, ...], learning_rate: float, generator: torch.Generator
    ) -> None:
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
    """Write the updated weights to their parameters, with stochastic rounding where those are bfloat16."""
    if places[0].parameter.dtype == torch.bfloat16:
        weights = stochastic_bf16(weights, generator)
    start = places[0].part.start
    targets = [place.parameter.detach() for place in places]
    sources = [
        weights[place.part.start - start :][: target.numel()].view_as(target)
        for place, target in zip(places, targets, strict=True)
    ]
    torch._foreach_copy_(targets, sources)
