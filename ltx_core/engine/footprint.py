"""How much device memory a training step takes, by arithmetic over shapes. No torch.

The peak is in the backward. At its start everything that the forward saved is there; at its end the gradients are; in
between one gives way to the other block by block, so the larger of the two counts:

    frozen weights + slots + connectors + LoRA + moments + gradient buffer + inputs
    + max(what the blocks saved, gradients outside their buffer) + one block's work

A block that is computed again saves its two residual streams; another one saves every tensor that its backward reads.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ltx_core.engine.model_sizes import ModelSizes
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.shares import recomputed_blocks, streamed_blocks

GIB = 2**30
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
WORKSPACE_BYTES = 256 * 2**20
"""cuBLAS's on Hopper: 32 MiB for each handle and stream, and as much for cublasLt, of the run and of what captures."""
OPTIMIZER_BYTES: dict[str, tuple[int, int, int]] = {"adamw": (4, 4, 8), "adamw_bf16": (2, 2, 4), "adamw8bit": (4, 4, 2)}
"""Bytes of a trained weight, of its gradient and of its moments."""

Optimizer = Literal["adamw", "adamw_bf16", "adamw8bit"]


@dataclass(frozen=True)
class BatchShape:
    """The tokens of one forward."""

    size: int
    """Clips."""
    video_tokens: int
    """Of a clip."""
    audio_tokens: int
    text_tokens: int
    by_token: bool = False
    """Whether timesteps differ within a clip, as a clean first frame makes them; modulation is then by token."""


@dataclass(frozen=True)
class AdapterWork:
    """What an adapter's layers take beyond those of a plain LoRA."""

    built: int = 0
    """Values of the largest weight whose change is built whole, while it is."""
    video_values: int = 0
    """Kept of a video token for the backward, in one block."""
    audio_values: int = 0


@dataclass(frozen=True)
class Training:
    """What is trained on what."""

    num_trained: int
    optimizer: Optimizer = "adamw"
    item_bytes: int = 2
    """Of the base's dtype."""
    shards: int = 1
    """GPUs that the frozen blocks are cut among."""
    aligned_width: int = 0
    """Of the features that hidden states are aligned with (CREPA); 0 without."""
    adapter: AdapterWork = AdapterWork()
    averaged: bool = False
    """Whether an average over steps is kept beside the weights, in float32."""
    rolls_out: bool = False
    """Whether forwards without gradients run beside the graph of a step, whose memory is its own."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what takes them."""

    terms: dict[str, int]
    """Device memory at the peak; adds up to it."""
    lasting: frozenset[str]
    """The terms that are there between steps too."""
    host_bytes: int
    """Page-locked memory, or file, of the streamed weights, and of activations."""

    @property
    def peak_bytes(self) -> int:
        """Of PyTorch's allocator; the process takes CUDA's own context beside it."""
        return sum(self.terms.values())

    @property
    def resident_bytes(self) -> int:
        """Between two steps."""
        return sum(self.terms[name] for name in self.lasting)

    def describe(self, smallest: int = 2**26) -> str:
        """The larger terms, largest first, in GiB."""
        parts = sorted(self.terms.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {taken / GIB:.2f}" for name, taken in parts if taken >= smallest)


def predict(sizes: ModelSizes, batch: BatchShape, training: Training, options: EngineOptions) -> MemoryEstimate:
    """What a step takes with these options.

    Raises:
        ConfigError: more streamed blocks than there are.
    """
    streamed = frozenset(streamed_blocks(sizes.num_blocks, options.streamed_blocks))
    again = recomputed_blocks(sizes.num_blocks, options.recompute) | streamed
    weight_bytes, gradient_bytes, moment_bytes = (n * training.num_trained for n in OPTIMIZER_BYTES[training.optimizer])
    waiting = _waiting(sizes, batch, training, options, keeping=sizes.num_blocks - len(again))
    block = sizes.block_bytes(in_8_bits=options.precision != "native", item_bytes=training.item_bytes)
    native, most_native = sizes.native_bytes(options.native_layers, training.item_bytes)
    lasting = {
        "frozen weights": sizes.outside * training.item_bytes
        + (sizes.num_blocks - len(streamed)) * block // training.shards
        + native,
        "slots of streamed weights": options.num_slots * (block + most_native) if streamed else 0,
        "text connectors": sizes.connectors * training.item_bytes,
        "LoRA": weight_bytes,
        "moments": moment_bytes,
        "average": 4 * training.num_trained if training.averaged else 0,
        "gradient buffer": gradient_bytes if options.graphs else 0,
        "inputs and workspaces": _inputs(sizes, batch, training) + WORKSPACE_BYTES,
    }
    saved = {
        "residual streams": len(again) * _residual(sizes, batch, training),
        "kept activations": (sizes.num_blocks - len(again))
        * (kept_activations(sizes, batch, training, options) - waiting),
    }
    late = max(0, gradient_bytes - sum(saved.values()))  # a graph's first runs have gradients beside their buffer too
    work = max(_work(sizes, batch, training, options, again=bool(again)), _alignment(sizes, batch, training))
    during = saved | {
        "gradients": late,
        "one block's work": work,
        "activations that leave or come": IN_FLIGHT * waiting,
        "modulation and rotary tables": _tables(sizes, batch),
    }
    if training.rolls_out and options.graphs:  # without a graph they take what the backward takes later
        during["rollouts"] = FORWARD_WIDTHS * _residual(sizes, batch, training) + _tables(sizes, batch)
    host = len(streamed) * block + (native if streamed else 0) + options.activation_offload
    return MemoryEstimate(lasting | during, frozenset(lasting), host)


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
    """What stays of that until the backward, with the compiler's budget; the block's input among it."""
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
    """What one block of those `keeping` activations has on the host, and not on the device."""
    return min(options.activation_offload // max(keeping, 1), kept_activations(sizes, batch, training, options))


def _work(sizes: ModelSizes, batch: BatchShape, training: Training, options: EngineOptions, *, again: bool) -> int:
    """One block, forward again and backward: the last block is among those computed again if any are. Gradients
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
    if not training.aligned_width:
        return 0
    return 4 * batch.size * batch.video_tokens * 3 * (sizes.width + training.aligned_width)


def _inputs(sizes: ModelSizes, batch: BatchShape, training: Training) -> int:
    """Contexts, as given and as the blocks read them, and features of frames as they come and as a graph reads them;
    the tokens themselves are narrow."""
    contexts = batch.text_tokens * (sizes.width + sizes.audio_width) * training.item_bytes
    features = batch.video_tokens * training.aligned_width * FEATURE_BYTES
    return 2 * batch.size * (contexts + features)


def _tables(sizes: ModelSizes, batch: BatchShape) -> int:
    """Rotary tables of self-attention and of the attention between streams, and what timesteps become."""
    video, audio = (sizes.width + sizes.audio_width) // 2, sizes.audio_width
    rotary = ROTARY_BYTES * batch.size * (batch.video_tokens * video + batch.audio_tokens * audio)
    tokens = batch.video_tokens if batch.by_token else 1
    return rotary + 2 * MODULATION_WIDTHS * batch.size * tokens * sizes.width
