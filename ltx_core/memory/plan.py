"""Choose how blocks run, in training and sampling, so that they fit a device and are fast, and say why. No torch.

Measured on one H200 (fp8): at 480x832x17, batch 2, 0.31 s a step with nothing recomputed, 0.42 with all blocks,
0.68 with all streamed; at 512x768x121, of each block, 0.7 ms for what is cheap, 2.2 for what leaves 40 % of the
activations, 3.4 for all but attentions, about 5 for the whole block. So parts of blocks are recomputed first, then
whole blocks, and only then blocks are offloaded; each as little as fits.

    frozen weights + slots + adapters + contexts + one block's work

Nothing is kept for a backward, so a forward takes little beside the weights: blocks are offloaded, as few as fit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ltx_core.engine.options import EngineOptions, recomputed_blocks
from ltx_core.errors import OutOfMemory
from ltx_core.memory.footprint import (
    GIB,
    KEPT_WIDTHS,
    WORKSPACE_BYTES,
    BatchShape,
    MemoryEstimate,
    ModelSizes,
    Training,
    kept_activations,
    predict,
)

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
        """Return what a step takes with these options."""
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
    """Return what PyTorch can have of a card of that size."""
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
    """Return what to change and by how much it helps, cheapest in time first; empty if nothing is left."""
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
        f"{again} of {num_blocks} blocks with checkpointing (recompute {options.recompute:.2f}){kept}{waiting} and "
        f"{options.streamed_blocks} offloaded"
    )


WORK_WIDTHS = 19.3
"""Values alive at once in a block that is not compiled, in widths of the tokens: the feed-forward's hidden layer twice,
beside rotary tables and residuals. Traced: benchmarks/sampling_memory.py."""
DEQUANTISED, BESIDE_WIDTHS = 2, 15.8
"""A weight in 8 bits as it is multiplied: its values in the dtype of the rest, and those times their scales; and what
is alive beside the largest one. Traced too."""
BY_TOKEN_WIDTHS = 20.8
"""Beside them where tokens have timesteps of their own: the modulation of every token."""
CONTEXTS = 4
"""Texts that lie on the device at once: the prompt's and the negative one's, as given and as the blocks read them."""


@dataclass(frozen=True)
class Sampling:
    """What a forward has to do, however its blocks lie."""

    sizes: ModelSizes
    batch: BatchShape
    """Of the largest render; one clip."""
    item_bytes: int = 2
    """Of the base's dtype."""
    adapter_bytes: int = 0
    """Weights of the largest set of adapters."""

    def predict(self, options: EngineOptions) -> MemoryEstimate:
        """Return what a forward takes with these options."""
        sizes, batch, streamed = self.sizes, self.batch, options.streamed_blocks
        block = sizes.block_bytes(in_8_bits=options.precision != "native", item_bytes=self.item_bytes)
        text = batch.size * batch.text_tokens * (sizes.width + sizes.audio_width) * self.item_bytes
        lasting = {
            "frozen weights": sizes.outside * self.item_bytes + (sizes.num_blocks - streamed) * block,
            "slots of offloaded weights": options.num_slots * block if streamed else 0,
            "adapters": self.adapter_bytes,
            "contexts and workspaces": CONTEXTS * text + WORKSPACE_BYTES,
        }
        values = batch.size * (batch.video_tokens * sizes.width + batch.audio_tokens * sizes.audio_width)
        by_token = BY_TOKEN_WIDTHS if batch.by_token else 0
        work = round((WORK_WIDTHS + by_token) * values * self.item_bytes)
        if options.precision != "native":
            held = DEQUANTISED * sizes.largest_layer + round((BESIDE_WIDTHS + by_token) * values)
            work = max(work, held * self.item_bytes)
        return MemoryEstimate(lasting | {"one block's work": work}, frozenset(lasting), streamed * block)


@dataclass(frozen=True)
class SamplingChoice:
    """How blocks are to lie."""

    options: EngineOptions
    estimate: MemoryEstimate
    why: str


def choose_sampling(
    work: Sampling, options: EngineOptions, budget_bytes: int, *, stream: bool = True
) -> SamplingChoice:
    """As few offloaded blocks as fit `budget_bytes`; without `stream`, `options` as they are, fit or not.

    Raises:
        OutOfMemory: not even with all blocks offloaded; says what it takes and what would help.
    """
    for tried in _candidates(work.sizes.num_blocks, options) if stream else (options,):
        estimate = work.predict(tried)
        if needed_bytes(estimate) <= budget_bytes or not stream:
            return SamplingChoice(tried, estimate, _sampling_why(work, tried, estimate, budget_bytes))
    raise OutOfMemory(
        f"a render of {work.batch.video_tokens} video tokens needs {needed_bytes(estimate) / GIB:.1f} GiB with all "
        f"blocks offloaded, and {budget_bytes / GIB:.1f} GiB can be had: {estimate.describe()} (GiB). Use smaller or "
        f"shorter renders, fewer adapters at once, or render_validation.base_precision: int8."
    )


def _candidates(num_blocks: int, options: EngineOptions) -> Iterator[EngineOptions]:
    for streamed in range(num_blocks + 1):
        yield replace(options, streamed_blocks=streamed)


def _sampling_why(work: Sampling, options: EngineOptions, estimate: MemoryEstimate, budget_bytes: int) -> str:
    return (
        f"{options.streamed_blocks} of {work.sizes.num_blocks} blocks offloaded: a render takes "
        f"{estimate.peak_bytes / GIB:.1f} GiB, with the allocator's reserve {needed_bytes(estimate) / GIB:.1f}, of "
        f"{budget_bytes / GIB:.1f} that can be had"
    )
