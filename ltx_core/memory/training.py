"""A training step's memory, by arithmetic over the shapes in a header, and the ways to take less of it. No torch.

The peak is in the backward. At its start everything that the forward saved is there; at its end the gradients are; in
between one gives way to the other block by block, so the larger of the two counts:

    frozen weights + slots + connectors + LoRA + moments + gradient buffer + inputs
    + max(what the blocks saved, gradients outside their buffer) + one block's work

A block that is recomputed saves its two residual streams; another one saves every tensor that its backward reads.

Measured on one H200 (fp8): at 480x832x17, batch 2, 0.31 s a step with nothing recomputed, 0.42 with all blocks,
0.68 with all offloaded; at 512x768x121, of each block, 0.7 ms for what is cheap, 2.2 for what leaves 40 % of the
activations, 3.4 for all but attentions, about 5 for the whole block. So parts of blocks are recomputed first, then
whole blocks, and only then blocks are offloaded; each as little as fits.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from ltx_core.engine.options import EngineOptions, checkpointed_blocks, offloaded_blocks
from ltx_core.memory.plan import GIB, Estimate
from ltx_core.memory.transformer import (
    WORKSPACE_BYTES,
    BatchShape,
    ModelSizes,
    Sampling,
    SamplingOptions,
    transformer_estimate,
)

KEPT_WIDTHS = {1.0: 22.5, 0.99: 14.45, 0.6: 13.6, 0.5: 11.6, 0.45: 10.8, 0.4: 9.75, 0.3: 7.55, 0.2: 7.45, 0.05: 4.75}
"""Values that a compiled block keeps of a token for its backward, in model widths, by its budget of activations. Of a
whole budget: inputs, queries, keys, values and results of four attentions (15), normalised inputs and residuals (5),
the feed-forward's slopes (2), rounded by what the compiler recomputes. Just below 1, what norms, gates, rotary
embedding and gelu make is made again; then products, attentions never. Traced (benchmarks/activations.py), with the
block's input. Other budgets are not always better than the next smaller one: the compiler's choice is a rough one. With
0.3 and 0.2 it depends on the clip: 7.55 and 5.55 of 512x768x121, 9.4 and 7.45 of 1280x704x49, 16 tokens more."""
KEPT_WIDTHS_INT8 = KEPT_WIDTHS | {0.6: 12.2, 0.5: 12.2, 0.45: 12.2, 0.4: 11.4, 0.3: 9.4, 0.2: 7.9}
"""The same of int8 products, which the compiler takes for free: from 0.6 on it makes all of them again."""
MADE_AGAIN_AT_ONCE = 0.6
"""Share of what a budget left out that is there at a time when a block's backward makes it again. At most: measured
were 0.62 of it with a budget of 0.05 and 0.14 with 0.35 (eight blocks, one H200)."""
KEPT_WIDTHS_EAGER = 48.0
"""The same of a block that is not compiled, with LoRAs in float32 and every intermediate result kept; from diffusers +
peft under autocast in the same run."""
FORWARD_WIDTHS = 12
"""Values of a token that an eager block has at once without gradients: residual and normalised input, then queries,
keys and values with what rotates them in float32, or the feed-forward's hidden layer twice. Counted, not measured."""
KEPT_TEXT_WIDTHS = 3.0
"""Of a text token: its key before and after the norm, and its value."""
ROTARY_BYTES = 8
"""A float32 cosine and sine for every second channel, counted per channel of the two tables a token has."""
IN_FLIGHT = 2
"""Blocks whose waiting activations are on the device as well: of the last two a backward finds them still there."""
BUILT_BYTES = 24
"""Of each value of a change that an adapter builds as large as the weight: six float32 of it at once, its gradient
among them."""
MODULATION_WIDTHS = 14
"""Modulation of a stream: six vectors for its layers, five for the attention between streams, three of the output."""
FEATURE_BYTES = 2
"""Of a value of the features, which are stored in float16."""
ADAMW_BYTES = {"adamw": (4, 4, 8), "adamw_bf16": (2, 2, 4), "adamw8bit": (4, 4, 2)}
OPTIMIZER_BYTES: dict[str, tuple[int, int, int]] = ADAMW_BYTES | {"prodigy": (4, 8, 16), "adafactor": (4, 4, 1)}
"""Bytes of a trained weight, of its gradient and of its moments. Prodigy copies the gradients; Adafactor's moments are
of rows and columns, a quarter of a byte at rank 32."""
AVERAGE_BYTES = 4
"""Of a trained weight's average over steps, which is in float32."""
COPY_OVERHEAD = 1.01
"""Of a checkpoint's copy: scales of 8-bit moments, numbers of steps, and every tensor at an aligned address."""
OFFLOADS = (0.1, 0.2, 0.3, 0.35)
"""Of what a block keeps with the largest budget below 1, as tried. Keeping and computing both grow with the tokens, so
the share that travels in time does not: at `121` an H200 took 0.705 s with none and 0.733 with 0.35 (fp8)."""
BUDGETS = tuple(budget for budget in KEPT_WIDTHS if budget != 0.3)
"""Of activations, as tried: those with which a block of no clip keeps more of a token than is predicted."""
BUDGETS_INT8 = (1.0, 0.99, 0.05)
"""The others make every int8 product again and keep more than the last."""
OPEN = frozenset({"activation_checkpointing", "activation_budget", "activation_offload", "offloaded_blocks"})
"""Options that may be left to the plan."""

Optimizer = Literal["adamw", "adamw_bf16", "adamw8bit", "prodigy", "adafactor"]


def copied_bytes(num_trained: int, optimizer: Optimizer, *, averaged: bool) -> int:
    """Return the host memory of a checkpoint's copy: trained weights, moments, and their average if there is one."""
    weight, _, moments = OPTIMIZER_BYTES[optimizer]
    return round(COPY_OVERHEAD * num_trained * (weight + moments + (AVERAGE_BYTES if averaged else 0)))


@dataclass(frozen=True)
class AdapterWork:
    """Memory that an adapter's layers take beyond those of a plain LoRA."""

    built: int = 0
    """Values of the largest weight whose change is built whole, while it is."""
    video_values: int = 0
    """Kept of a video token for the backward, in one block."""
    audio_values: int = 0


@dataclass(frozen=True)
class MethodMemory:
    """Memory that training methods take beside the adapter."""

    num_trained: int = 0
    """Weights of their own that are trained."""
    feature_width: int = 0
    """Of features of frames that hidden states of the video are compared with; 0 without."""
    averaged: bool = False
    """True if an average over steps is kept beside the weights, in float32."""
    extra_forwards: bool = False
    """True if forwards without gradients run beside the graph of a step, whose memory is its own."""


@dataclass(frozen=True)
class Training:
    """The trained weights, and the base that they are trained on."""

    num_trained: int
    optimizer: Optimizer = "adamw"
    item_bytes: int = 2
    """Of the base's dtype."""
    shards: int = 1
    """GPUs that the frozen blocks are cut among."""
    adapter: AdapterWork = AdapterWork()
    methods: MethodMemory = MethodMemory()


@dataclass(frozen=True)
class SampleWork:
    """Rendering samples between steps, one at a time: first its forwards, then its decoding."""

    batch: BatchShape
    decoding_bytes: int
    """Weights of the decoders, and the leanest way to decode."""


@dataclass(frozen=True)
class TrainingStep:
    """The work of a step, however its blocks run, and what of that is left open."""

    sizes: ModelSizes
    batch: BatchShape
    """The largest of the run."""
    training: Training
    asked: EngineOptions = field(default_factory=EngineOptions)
    open: frozenset[str] = OPEN
    """The options that may be chosen; the rest is as `asked`."""
    host_bytes: int = 0
    """Free on the host for this process; activations that may wait there take at most half of what a checkpoint's copy
    leaves."""
    samples: SampleWork | None = None

    @property
    def copied_bytes(self) -> int:
        """Page-locked host memory of a checkpoint's copy, which the first process on a machine takes."""
        training = self.training
        return copied_bytes(training.num_trained, training.optimizer, averaged=training.methods.averaged)

    def ways(self) -> Iterable[EngineOptions]:
        """Yield the options with what is open filled in. A budget of activations works in compiled blocks alone."""
        asked, checkpointing = self.asked, "activation_checkpointing" in self.open
        keeps = asked.compiled and (checkpointing or asked.activation_checkpointing < 1)
        budget, waits = keeps and "activation_budget" in self.open, keeps and "activation_offload" in self.open
        offload = "offloaded_blocks" in self.open
        if not (checkpointing or budget or waits or offload):
            return [asked]
        room = max(0, self.host_bytes - self.copied_bytes) // 2 if waits else None
        return candidates(self, asked, checkpointing=checkpointing, budget=budget, offload=offload, room=room)

    def estimate(self, options: EngineOptions) -> Estimate:
        """The memory of a step with these options.

        Raises:
            ConfigError: more offloaded blocks than there are.
        """
        sizes, batch, training = self.sizes, self.batch, self.training
        offloaded = frozenset(offloaded_blocks(sizes.num_blocks, options.offloaded_blocks))
        again = checkpointed_blocks(sizes.num_blocks, options.activation_checkpointing) | offloaded
        weight_bytes, gradient_bytes, moment_bytes = (
            n * training.num_trained for n in OPTIMIZER_BYTES[training.optimizer]
        )
        waiting = _waiting(sizes, batch, training, options, keeping=sizes.num_blocks - len(again))
        block = sizes.block_bytes(in_8_bits=options.precision != "native", item_bytes=training.item_bytes)
        native, most_native = sizes.native_bytes(options.native_layers, training.item_bytes)
        lasting = {
            "frozen weights": sizes.outside * training.item_bytes
            + (sizes.num_blocks - len(offloaded)) * block // training.shards
            + native,
            "slots of offloaded weights": options.num_slots * (block + most_native) if offloaded else 0,
            "text connectors": sizes.connectors * training.item_bytes,
            "LoRA": weight_bytes,
            "moments": moment_bytes,
            "average": AVERAGE_BYTES * training.num_trained if training.methods.averaged else 0,
            "gradient buffer": gradient_bytes if options.graphs else 0,
            "inputs and workspaces": _inputs(sizes, batch, training) + WORKSPACE_BYTES,
        }
        saved = {
            "residual streams": len(again) * _residual(sizes, batch, training),
            "kept activations": (sizes.num_blocks - len(again))
            * (kept_activations(sizes, batch, training, options) - waiting),
        }
        late = max(0, gradient_bytes - sum(saved.values()))  # a graph's first runs have them beside their buffer too
        work = max(_work(sizes, batch, training, options, again=bool(again)), _alignment(sizes, batch, training))
        during = saved | {
            "gradients": late,
            "one block's work": work,
            "activations that leave or come": IN_FLIGHT * waiting,
            "modulation and rotary tables": _tables(sizes, batch),
        }
        if training.methods.extra_forwards and options.graphs:  # else they take what the backward takes later
            during["rollouts"] = FORWARD_WIDTHS * _residual(sizes, batch, training) + _tables(sizes, batch)
        if self.samples is not None:  # a graph keeps what a step takes
            beside = _sampling(sizes, self.samples, training, options)
            during["samples"] = beside if options.graphs else max(0, beside - sum(during.values()))
        host = len(offloaded) * block + (native if offloaded else 0) + options.activation_offload
        return transformer_estimate(lasting | during, lasting.keys(), host)

    def why(self, options: EngineOptions, budget_bytes: int) -> str:
        """The options and the memory in words, and what it would be with nothing recomputed or offloaded."""
        estimate = self.estimate(options)
        easier = replace(
            options, activation_checkpointing=0.0, activation_budget=1.0, activation_offload=0, offloaded_blocks=0
        )
        text = (
            f"{_how(self.sizes.num_blocks, options)}: takes {estimate.peak_bytes / GIB:.1f} GiB, with the allocator's "
            f"reserve {estimate.needed_bytes / GIB:.1f}, of {budget_bytes / GIB:.1f} that can be had"
        )
        if easier == options:
            return text
        return f"{text}; with none of it, it would take {self.estimate(easier).peak_bytes / GIB:.1f}"

    def refusal(self, least: EngineOptions, budget_bytes: int) -> str:
        """The reason why a step cannot fit, by how much, and what would help."""
        estimate = self.estimate(least)
        needed = estimate.needed_bytes
        return (
            f"training needs {needed / GIB:.1f} GiB with {_how(self.sizes.num_blocks, least)}, and "
            f"{budget_bytes / GIB:.1f} GiB can be had: {estimate.describe()}, allocator's reserve "
            f"{(needed - estimate.peak_bytes) / GIB:.2f} (GiB). "
            f"{advice(self, least) or 'Use smaller or shorter buckets.'}"
        )


def candidates(
    work: TrainingStep, options: EngineOptions, *, checkpointing: bool, budget: bool, offload: bool, room: int | None
) -> Iterator[EngineOptions]:
    """The options with what may be chosen filled in; `room` are the host's bytes for activations, if those may be."""
    num_blocks = work.sizes.num_blocks
    budgets = budgets_tried(options) if budget else (options.activation_budget,)
    all_shares = [number / num_blocks for number in range(num_blocks + 1)]
    shares = all_shares if checkpointing else [options.activation_checkpointing]
    now = replace(options, offloaded_blocks=0 if offload else options.offloaded_blocks)
    for kept in budgets if shares[0] < 1 else ():
        sent = _sent(kept) if budget else (0.0, *OFFLOADS)
        yield from _offloading(
            work, replace(now, activation_budget=kept, activation_checkpointing=shares[0]), sent, room
        )
    for share in shares[1:-1]:
        least = replace(now, activation_budget=budgets[-1], activation_checkpointing=share)
        yield from _offloading(work, least, OFFLOADS[-1:], room)
    if shares[-1] == 1:  # nothing is left to a budget, nor to the host
        last = replace(now, activation_checkpointing=1.0, activation_budget=budgets[0], activation_offload=0)
    else:
        last = replace(now, activation_checkpointing=shares[-1], activation_budget=budgets[-1])
    yield last
    for offloaded in range(1, num_blocks + 1) if offload else ():
        yield replace(last, offloaded_blocks=offloaded)


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
    work: TrainingStep, options: EngineOptions, sent: tuple[float, ...], room: int | None
) -> Iterator[EngineOptions]:
    """The options with these shares of the activations on the host. Without `room` to choose in, as they are."""
    if room is None:
        yield options
        return
    lean = replace(options, activation_budget=BUDGETS[1])
    kept = kept_activations(work.sizes, work.batch, work.training, lean)
    keeping = work.sizes.num_blocks - len(checkpointed_blocks(work.sizes.num_blocks, options.activation_checkpointing))
    for share in sent:
        yield replace(options, activation_offload=min(round(share * kept) * keeping, room))


def _residual(sizes: ModelSizes, batch: BatchShape, training: Training) -> int:
    """The two streams between two blocks."""
    values = batch.video_tokens * sizes.width + batch.audio_tokens * sizes.audio_width
    return batch.size * values * training.item_bytes


def _activations(sizes: ModelSizes, batch: BatchShape, training: Training, options: EngineOptions) -> int:
    """Everything that one block's backward reads."""
    widths = KEPT_WIDTHS[1.0] if options.compiled else KEPT_WIDTHS_EAGER
    text = batch.size * batch.text_tokens * (sizes.width + sizes.audio_width) * training.item_bytes
    adapter = batch.video_tokens * training.adapter.video_values + batch.audio_tokens * training.adapter.audio_values
    own = batch.size * adapter * training.item_bytes
    return round(widths * _residual(sizes, batch, training) + KEPT_TEXT_WIDTHS * text + own)


def kept_activations(sizes: ModelSizes, batch: BatchShape, training: Training, options: EngineOptions) -> int:
    """Return what stays of that until the backward, with the compiler's budget; the block's input among it."""
    everything = _activations(sizes, batch, training, options)
    if options.activation_budget == 1:
        return everything
    return round(everything * kept_widths(options) / KEPT_WIDTHS[1.0])


def kept_widths(options: EngineOptions) -> float:
    """Of any budget: in between the two that were traced; below the smallest there is nothing more to gain."""
    budget, traced = options.activation_budget, sorted(traced_widths(options).items())
    for (low, least), (high, most) in pairwise(traced):
        if budget <= high:
            return least + (most - least) * max(budget - low, 0) / (high - low)
    return traced[-1][1]


def traced_widths(options: EngineOptions) -> dict[float, float]:
    """Those that were traced. Weights in 8 bits that are dequantised for each product keep what bfloat16 keeps."""
    return KEPT_WIDTHS_INT8 if options.precision == "int8" and options.multiplies else KEPT_WIDTHS


def _waiting(sizes: ModelSizes, batch: BatchShape, training: Training, options: EngineOptions, *, keeping: int) -> int:
    """Return what one block of those `keeping` activations has on the host, and not on the device."""
    return min(options.activation_offload // max(keeping, 1), kept_activations(sizes, batch, training, options))


def _work(sizes: ModelSizes, batch: BatchShape, training: Training, options: EngineOptions, *, again: bool) -> int:
    """One block, forward again and backward: the last block is among those recomputed if any are. Gradients
    through 8-bit products read the weights transposed: once more each; others read them dequantised. A block that is
    gathered from other GPUs is there whole, and the next one too."""
    whole = _activations(sizes, batch, training, options)
    work = whole if again else round(MADE_AGAIN_AT_ONCE * (whole - kept_activations(sizes, batch, training, options)))
    work += BUILT_BYTES * training.adapter.built
    if options.precision != "native":
        low = options.low_backward and options.products == "all"
        work += sizes.block_products * (1 if low else training.item_bytes)
    if training.shards > 1:
        work += 2 * sizes.block_bytes(in_8_bits=False, item_bytes=training.item_bytes)
    return work


def _alignment(sizes: ModelSizes, batch: BatchShape, training: Training) -> int:
    """At the fullest: hidden states in float32, as the norm leaves them, and a gradient; states and features at unit
    length, and a gradient. Done before the backward enters a block."""
    if not training.methods.feature_width:
        return 0
    return 4 * batch.size * batch.video_tokens * 3 * (sizes.width + training.methods.feature_width)


def _sampling(sizes: ModelSizes, samples: SampleWork, training: Training, options: EngineOptions) -> int:
    """Of a sample: a forward without gradients and its texts, or its decoding, whichever is more."""
    terms = Sampling(sizes, samples.batch, training.item_bytes).estimate(SamplingOptions(options)).terms
    texts = terms["contexts and workspaces"] - WORKSPACE_BYTES
    return max(terms["one block's work"] + texts, samples.decoding_bytes)


def _inputs(sizes: ModelSizes, batch: BatchShape, training: Training) -> int:
    """Contexts, as given and as the blocks read them, and features of frames as they come and as a graph reads them;
    the tokens themselves are narrow."""
    contexts = batch.text_tokens * (sizes.width + sizes.audio_width) * training.item_bytes
    features = batch.video_tokens * training.methods.feature_width * FEATURE_BYTES
    return 2 * batch.size * (contexts + features)


def _tables(sizes: ModelSizes, batch: BatchShape) -> int:
    """Rotary tables of self-attention and of the attention between streams, and what timesteps become."""
    video, audio = (sizes.width + sizes.audio_width) // 2, sizes.audio_width
    rotary = ROTARY_BYTES * batch.size * (batch.video_tokens * video + batch.audio_tokens * audio)
    tokens = batch.video_tokens if batch.by_token else 1
    return rotary + 2 * MODULATION_WIDTHS * batch.size * tokens * sizes.width


@dataclass(frozen=True)
class Relief:
    """One change that takes memory off the peak."""

    change: str
    saved_bytes: int


def advice(work: TrainingStep, options: EngineOptions) -> str:
    """Return what to change and by how much it helps, cheapest in time first; empty if nothing is left."""
    found = [f"{relief.change} saves {relief.saved_bytes / GIB:.1f} GiB" for relief in reliefs(work, options)]
    return f"One by one: {'; '.join(found)}." if found else ""


def reliefs(work: TrainingStep, options: EngineOptions, smallest: int = 2**26) -> list[Relief]:
    """Changes that save at least `smallest` bytes, cheapest in time first; each is counted alone."""
    peak = work.estimate(options).peak_bytes
    tried = [(change, w.estimate(o).peak_bytes) for change, w, o in _changes(work, options)]
    return [Relief(change, peak - left) for change, left in tried if peak - left >= smallest]


def _changes(work: TrainingStep, options: EngineOptions) -> Iterator[tuple[str, TrainingStep, EngineOptions]]:
    """One change each, by the options' names in `train_lora`."""
    blocks, batch, training = work.sizes.num_blocks, work.batch, work.training
    if options.precision == "native" and training.shards == 1:
        yield "base_precision native -> int8", work, replace(options, precision="int8")
    if options.compiled and options.activation_budget == 1 and options.activation_checkpointing < 1:
        yield "activation_budget 1 -> 0.99", work, replace(options, activation_budget=0.99)
    if options.compiled and options.activation_budget > BUDGETS[-1] and options.activation_checkpointing < 1:
        least = BUDGETS[-1]
        change = f"activation_budget {options.activation_budget:g} -> {least}"
        yield change, work, replace(options, activation_budget=least)
    if options.activation_checkpointing < 1:
        again = replace(options, activation_checkpointing=1.0, activation_offload=0)
        yield f"activation_checkpointing {options.activation_checkpointing:.2f} -> 1", work, again
    if training.optimizer in ("adamw", "prodigy"):
        leaner = replace(work, training=replace(training, optimizer="adamw_bf16"))
        yield f"optimizer {training.optimizer} -> adamw_bf16", leaner, options
    if options.offloaded_blocks < blocks and training.shards == 1:
        yield f"offloaded_blocks {options.offloaded_blocks} -> all", work, replace(options, offloaded_blocks=blocks)
    if work.samples is not None:
        yield "samples.every_steps 0 (no samples)", replace(work, samples=None), options
    if batch.size > 1:
        half = replace(work, batch=replace(batch, size=batch.size // 2))
        yield f"batch_size {batch.size} -> {batch.size // 2}", half, options
    yield "half the rank", replace(work, training=replace(training, num_trained=training.num_trained // 2)), options
    yield "clips of half the tokens", replace(work, batch=_half(batch)), options


def _half(batch: BatchShape) -> BatchShape:
    return replace(batch, video_tokens=batch.video_tokens // 2, audio_tokens=batch.audio_tokens // 2)


def _how(num_blocks: int, options: EngineOptions) -> str:
    """The options in words."""
    again = round(options.activation_checkpointing * num_blocks)
    kept = f", {options.activation_budget:.0%} of the others' activations kept" if options.activation_budget < 1 else ""
    waiting = f", {options.activation_offload / GIB:.1f} GiB of them on the host" if options.activation_offload else ""
    return (
        f"{again} of {num_blocks} blocks with checkpointing "
        f"(activation_checkpointing {options.activation_checkpointing:.2f}){kept}{waiting} and "
        f"{options.offloaded_blocks} offloaded"
    )
