"""Choose how blocks run so that a step fits a device and takes little time, and say why. No torch.

Measured on one H200 (fp8): at 480x832x17, batch 2, 0.31 s a step with nothing computed again, 0.42 with all blocks,
0.68 with all streamed; at 512x768x121, of each block, 0.7 ms for what is cheap, 2.2 for what leaves 40 % of the
activations, 3.4 for all but attentions, about 5 for the whole block. So parts of blocks are computed again first, then
whole blocks, and only then blocks are streamed; each as little as fits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ltx_core.engine.candidates import BUDGETS, Workload, candidates
from ltx_core.engine.footprint import GIB, BatchShape, MemoryEstimate
from ltx_core.engine.options import EngineOptions
from ltx_core.errors import OutOfMemory

CONTEXT_BYTES = int(0.75 * GIB)
"""Of a card's memory, what CUDA's context, its modules and a desktop take before PyTorch's first tensor."""
RESERVE_BYTES, RESERVE_SHARE = GIB, 0.06
"""What PyTorch's allocator holds beyond the tensors at the peak: pieces that fit nothing, and memory that belongs to a
graph. Fitted to what it reserved in the runs of measured_peaks.json."""


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
    offload: bool = True,
    stream: bool = True,
    host_bytes: int = 0,
) -> Choice:
    """The fastest way that fits `budget_bytes`; the flags say what may be chosen, the rest of `options` stays. Where
    nothing may be chosen, that is `options`, fit or not. A `budget` of activations works in compiled blocks alone.
    Activations that may `offload` take at most half of `host_bytes`.

    Raises:
        OutOfMemory: nothing that may be chosen fits; says what is missing and what would help.
    """
    least: EngineOptions | None = None
    budget = budget and options.compiled and (recompute or options.recompute < 1)
    offload = offload and options.compiled and (recompute or options.recompute < 1)
    room = host_bytes // 2 if offload else None
    for tried in candidates(work, options, recompute=recompute, budget=budget, stream=stream, room=room):
        estimate = work.predict(tried)
        if needed_bytes(estimate) <= budget_bytes or not (recompute or budget or offload or stream):
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
        again = replace(options, recompute=1.0, activation_offload=0)
        yield f"recompute {options.recompute:.2f} -> 1", work, again
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


def _why(work: Workload, options: EngineOptions, estimate: MemoryEstimate, budget_bytes: int) -> str:
    easier = replace(options, recompute=0.0, activation_budget=1.0, activation_offload=0, streamed_blocks=0)
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
    waiting = f", {options.activation_offload / GIB:.1f} GiB of them on the host" if options.activation_offload else ""
    return (
        f"{again} of {num_blocks} blocks computed again (recompute {options.recompute:.2f}){kept}{waiting} and "
        f"{options.streamed_blocks} streamed"
    )
