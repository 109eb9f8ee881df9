"""Ways to run the blocks of a step, from the fastest to the smallest. No torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ltx_core.engine.footprint import KEPT_WIDTHS, BatchShape, MemoryEstimate, Training, kept_activations, predict
from ltx_core.engine.model_sizes import ModelSizes
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.shares import recomputed_blocks

OFFLOADS = (0.1, 0.2, 0.3, 0.35)
"""Of what a block keeps with the largest budget below 1, as tried. Keeping and computing both grow with the tokens, so
the share that travels in time does not: at `121` an H200 took 0.705 s with none and 0.733 with 0.35 (fp8)."""
BUDGETS = tuple(budget for budget in KEPT_WIDTHS if budget != 0.3)
"""Of activations, as tried: those with which a block of no clip keeps more of a token than is predicted."""
BUDGETS_INT8 = (1.0, 0.99, 0.05)
"""The others make every int8 product again and keep more than the last."""


@dataclass(frozen=True)
class Workload:
    """What a step has to do, however its blocks run."""

    sizes: ModelSizes
    batch: BatchShape
    """The largest of the run."""
    training: Training

    def predict(self, options: EngineOptions) -> MemoryEstimate:
        """What a step takes with these options."""
        return predict(self.sizes, self.batch, self.training, options)


def candidates(
    work: Workload, options: EngineOptions, *, recompute: bool, budget: bool, stream: bool, room: int | None
) -> Iterator[EngineOptions]:
    """The options with what may be chosen filled in; `room` are the host's bytes for activations, if those may be."""
    num_blocks = work.sizes.num_blocks
    budgets = budgets_tried(options) if budget else (options.activation_budget,)
    shares = [number / num_blocks for number in range(num_blocks + 1)] if recompute else [options.recompute]
    now = replace(options, streamed_blocks=0 if stream else options.streamed_blocks)
    for kept in budgets if shares[0] < 1 else ():
        sent = _sent(kept) if budget else (0.0, *OFFLOADS)
        yield from _offloading(work, replace(now, activation_budget=kept, recompute=shares[0]), sent, room)
    for share in shares[1:-1]:
        least = replace(now, activation_budget=budgets[-1], recompute=share)
        yield from _offloading(work, least, OFFLOADS[-1:], room)
    if shares[-1] == 1:  # nothing is left to a budget, nor to the host
        last = replace(now, recompute=1.0, activation_budget=budgets[0], activation_offload=0)
    else:
        last = replace(now, recompute=shares[-1], activation_budget=budgets[-1])
    yield last
    for streamed in range(1, num_blocks + 1) if stream else ():
        yield replace(last, streamed_blocks=streamed)


def budgets_tried(options: EngineOptions) -> tuple[float, ...]:
    """From the largest to the smallest."""
    return BUDGETS_INT8 if options.precision == "int8" and options.multiplies else BUDGETS


def _sent(budget: float) -> tuple[float, ...]:
    """Shares to try with a budget that is itself tried: none where all is kept; where products are made again, which
    takes time, as many as travel beside the computing."""
    if budget == 1:
        return (0.0,)
    return (0.0, *OFFLOADS) if budget >= BUDGETS[1] else OFFLOADS[-1:]


def _offloading(
    work: Workload, options: EngineOptions, sent: tuple[float, ...], room: int | None
) -> Iterator[EngineOptions]:
    """The options with these shares of the activations on the host. Without `room` to choose in, as they are."""
    if room is None:
        yield options
        return
    lean = replace(options, activation_budget=BUDGETS[1])
    kept = kept_activations(work.sizes, work.batch, work.training, lean)
    keeping = work.sizes.num_blocks - len(recomputed_blocks(work.sizes.num_blocks, options.recompute))
    for share in sent:
        yield replace(options, activation_offload=min(round(share * kept) * keeping, room))
