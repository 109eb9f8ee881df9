"""How much device memory a forward of sampling takes, and how few blocks are streamed so that it fits. No torch.

    frozen weights + slots + adapters + contexts + one block's work

Nothing is kept for a backward, so a forward takes little beside the weights: blocks are streamed, as few as fit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ltx_core.engine.footprint import GIB, WORKSPACE_BYTES, BatchShape, MemoryEstimate
from ltx_core.engine.model_sizes import ModelSizes
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.plan import needed_bytes
from ltx_core.errors import OutOfMemory

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
        """What a forward takes with these options."""
        sizes, batch, streamed = self.sizes, self.batch, options.streamed_blocks
        block = sizes.block_bytes(in_8_bits=options.precision != "native", item_bytes=self.item_bytes)
        text = batch.size * batch.text_tokens * (sizes.width + sizes.audio_width) * self.item_bytes
        lasting = {
            "frozen weights": sizes.outside * self.item_bytes + (sizes.num_blocks - streamed) * block,
            "slots of streamed weights": options.num_slots * block if streamed else 0,
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
    """As few streamed blocks as fit `budget_bytes`; without `stream`, `options` as they are, fit or not.

    Raises:
        OutOfMemory: not even with all blocks streamed; says what it takes and what would help.
    """
    for tried in _candidates(work.sizes.num_blocks, options) if stream else (options,):
        estimate = work.predict(tried)
        if needed_bytes(estimate) <= budget_bytes or not stream:
            return SamplingChoice(tried, estimate, _why(work, tried, estimate, budget_bytes))
    raise OutOfMemory(
        f"a render of {work.batch.video_tokens} video tokens needs {needed_bytes(estimate) / GIB:.1f} GiB with all "
        f"blocks streamed, and {budget_bytes / GIB:.1f} GiB can be had: {estimate.describe()} (GiB). Use smaller or "
        f"shorter renders, fewer adapters at once, or render_validation.base_precision: int8."
    )


def _candidates(num_blocks: int, options: EngineOptions) -> Iterator[EngineOptions]:
    for streamed in range(num_blocks + 1):
        yield replace(options, streamed_blocks=streamed)


def _why(work: Sampling, options: EngineOptions, estimate: MemoryEstimate, budget_bytes: int) -> str:
    return (
        f"{options.streamed_blocks} of {work.sizes.num_blocks} blocks streamed: a render takes "
        f"{estimate.peak_bytes / GIB:.1f} GiB, with the allocator's reserve {needed_bytes(estimate) / GIB:.1f}, of "
        f"{budget_bytes / GIB:.1f} that can be had"
    )
