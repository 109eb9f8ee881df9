"""Choose how blocks run so that a step fits a device and takes little time, and say why. No torch.

Measured on one H200 (fp8): at 480x832x17, batch 2, 0.31 s a step with nothing computed again, 0.42 with all blocks,
0.68 with all streamed; at 512x768x121, of each block, 0.7 ms for what is cheap, 2.2 for what leaves 40 % of the
activations, 3.4 for all but attentions, about 5 for the whole block. So parts of blocks are computed again first, then
whole blocks, and only then blocks are streamed; each as little as fits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ltx_core.engine.footprint import GIB, BatchShape, MemoryEstimate, Training, predict
from ltx_core.engine.model_sizes import ModelSizes
from ltx_core.engine.options import EngineOptions
from ltx_core.errors import OutOfMemory

CONTEXT_BYTES = int(0.75 * GIB)
"""Of a card's memory, what CUDA's context, its modules and a desktop take before PyTorch's first tensor."""
RESERVE_BYTES, RESERVE_SHARE = GIB, 0.06
"""What PyTorch's allocator holds beyond the tensors at the peak: pieces that fit nothing, and memory that belongs to a
graph. Fitted to what it reserved in the runs of measured_peaks.json."""
BUDGETS = (1.0, 0.99, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)
"""Of activations, as tried. Between 0.99 and 0.6 little is left to gain (benchmarks/activations.py)."""


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


@dataclass(frozen=True)
class Choice:
    """How blocks are to run."""

    options: EngineOptions
    estimate: MemoryEstimate
    why: str

    @property
    def needed_bytes(self) -> int:
        """The predicted peak and what the allocator holds beside it."""
        return needed_bytes(self.estimate)


@dataclass(frozen=True)
class Relief:
    """One change that takes memory off the peak."""

    change: str
    saved_bytes: int


def usable_bytes(gpu_gib: float) -> int:
    """What PyTorch can have of a card of that size."""
    return round(gpu_gib * GIB) - CONTEXT_BYTES


def needed_bytes(estimate: MemoryEstimate) -> int:
    """A predicted peak and what the allocator holds beside it."""
    return round(estimate.peak_bytes * (1 + RESERVE_SHARE)) + RESERVE_BYTES


def choose(
    work: Workload,
    options: EngineOptions,
    budget_bytes: int,
    *,
    recompute: bool = True,
    budget: bool = True,
    stream: bool = True,
) -> Choice:
    """The fastest way that fits `budget_bytes`; the flags say what may be chosen, the rest of `options` stays. Where
    nothing may be chosen, that is `options`, fit or not. A `budget` of activations works in compiled blocks alone.

    Raises:
        OutOfMemory: nothing that may be chosen fits; says what is missing and what would help.
    """
    least: EngineOptions | None = None
    budget = budget and options.compiled and (recompute or options.recompute < 1)
    for tried in _candidates(work.sizes.num_blocks, options, recompute=recompute, budget=budget, stream=stream):
        estimate = work.predict(tried)
        if needed_bytes(estimate) <= budget_bytes or not (recompute or budget or stream):
            return Choice(tried, estimate, _why(work, tried, estimate, budget_bytes))
        if least is None or estimate.peak_bytes < work.predict(least).peak_bytes:
            least = tried
    assert least is not None  # there is always a first candidate
    raise OutOfMemory(refusal(work, least, budget_bytes))


def refusal(work: Workload, options: EngineOptions, budget_bytes: int) -> str:
    """Why a step cannot fit, by how much, and what would help."""
    estimate = work.predict(options)
    needed = needed_bytes(estimate)
    return (
        f"training needs {needed / GIB:.1f} GiB with {_how(work.sizes.num_blocks, options)}, and "
        f"{budget_bytes / GIB:.1f} GiB can be had: {estimate.describe()}, allocator's reserve "
        f"{(needed - estimate.peak_bytes) / GIB:.2f} (GiB). "
        f"{advice(work, options) or 'Use smaller or shorter buckets.'}"
    )


def advice(work: Workload, options: EngineOptions) -> str:
    """What to change and by how much it helps, cheapest in time first; empty if nothing is left."""
    found = [f"{relief.change} saves {relief.saved_bytes / GIB:.1f} GiB" for relief in reliefs(work, options)]
    return f"One by one: {'; '.join(found)}." if found else ""


def reliefs(work: Workload, options: EngineOptions, smallest: int = 2**26) -> list[Relief]:
    """Changes that save at least `smallest` bytes, cheapest in time first; each is counted alone."""
    peak = work.predict(options).peak_bytes
    tried = [(change, w.predict(o).peak_bytes) for change, w, o in _changes(work, options)]
    return [Relief(change, peak - left) for change, left in tried if peak - left >= smallest]


def _changes(work: Workload, options: EngineOptions) -> Iterator[tuple[str, Workload, EngineOptions]]:
    """One change each, by the options' names in `train_lora`."""
    blocks, batch, training = work.sizes.num_blocks, work.batch, work.training
    if options.precision == "native" and training.shards == 1:
        yield "base_precision native -> int8", work, replace(options, precision="int8")
    if options.compiled and options.activation_budget == 1 and options.recompute < 1:
        yield "activation_budget 1 -> 0.99", work, replace(options, activation_budget=0.99)
    if options.compiled and options.activation_budget > BUDGETS[-1] and options.recompute < 1:
        least = BUDGETS[-1]
        yield (
            f"activation_budget {options.activation_budget:g} -> {least}",
            work,
            replace(options, activation_budget=least),
        )
    if options.recompute < 1:
        yield f"recompute {options.recompute:.2f} -> 1", work, replace(options, recompute=1.0)
    if training.optimizer == "adamw":
        leaner = replace(work, training=replace(training, optimizer="adamw_bf16"))
        yield "optimizer adamw -> adamw_bf16", leaner, options
    if options.streamed_blocks < blocks and training.shards == 1:
        yield f"streamed_blocks {options.streamed_blocks} -> all", work, replace(options, streamed_blocks=blocks)
    if batch.size > 1:
        half = replace(work, batch=replace(batch, size=batch.size // 2))
        yield f"batch_size {batch.size} -> {batch.size // 2}", half, options
    yield "half the rank", replace(work, training=replace(training, num_trained=training.num_trained // 2)), options
    yield "clips of half the tokens", replace(work, batch=_half(batch)), options


def _half(batch: BatchShape) -> BatchShape:
    return replace(batch, video_tokens=batch.video_tokens // 2, audio_tokens=batch.audio_tokens // 2)


def _candidates(
    num_blocks: int, options: EngineOptions, *, recompute: bool, budget: bool, stream: bool
) -> Iterator[EngineOptions]:
    """From the fastest to the smallest."""
    budgets = BUDGETS if budget else (options.activation_budget,)
    shares = [number / num_blocks for number in range(num_blocks + 1)] if recompute else [options.recompute]
    now = replace(options, streamed_blocks=0 if stream else options.streamed_blocks)
    for kept in budgets if shares[0] < 1 else ():
        yield replace(now, activation_budget=kept, recompute=shares[0])
    for share in shares[1:-1]:
        yield replace(now, activation_budget=budgets[-1], recompute=share)
    last = replace(now, recompute=shares[-1], activation_budget=budgets[0] if shares[-1] == 1 else budgets[-1])
    yield last
    for streamed in range(1, num_blocks + 1) if stream else ():
        yield replace(last, streamed_blocks=streamed)


def _why(work: Workload, options: EngineOptions, estimate: MemoryEstimate, budget_bytes: int) -> str:
    easier = replace(options, recompute=0.0, activation_budget=1.0, streamed_blocks=0)
    text = (
        f"{_how(work.sizes.num_blocks, options)}: takes {estimate.peak_bytes / GIB:.1f} GiB, with the allocator's "
        f"reserve {needed_bytes(estimate) / GIB:.1f}, of {budget_bytes / GIB:.1f} that can be had"
    )
    if easier == options:
        return text
    return f"{text}; with none of it, it would take {work.predict(easier).peak_bytes / GIB:.1f}"


def _how(num_blocks: int, options: EngineOptions) -> str:
    """The options in words."""
    again = round(options.recompute * num_blocks)
    kept = f", {options.activation_budget:.0%} of the others' activations kept" if options.activation_budget < 1 else ""
    return (
        f"{again} of {num_blocks} blocks computed again (recompute {options.recompute:.2f}){kept} and "
        f"{options.streamed_blocks} streamed"
    )
