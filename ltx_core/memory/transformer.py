"""The transformer's sizes from the shapes in a header, and the memory of a forward of sampling. No torch.

    frozen weights + slots + adapters + contexts + one block's work

Nothing is kept for a backward, so a forward takes little beside the weights: blocks are offloaded, as few as fit.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ltx_core.adapters.lora_layout import BLOCKS
from ltx_core.engine.options import MULTIPLE, EngineOptions
from ltx_core.errors import CheckpointError
from ltx_core.memory.plan import GIB, Estimate

Shapes = Mapping[str, tuple[int, ...]]
WORKSPACE_BYTES = 256 * 2**20
"""cuBLAS's on Hopper: 32 MiB for each handle and stream, and as much for cublasLt, of the run and of what captures."""
RESERVE_BYTES, RESERVE_SHARE = GIB, 0.06
"""Memory that PyTorch's allocator holds beyond the tensors at the peak: pieces that fit nothing, and memory that
belongs to a graph. Fitted to what it reserved in the runs of measured_peaks.json."""
WORK_WIDTHS = 19.3
"""Values alive at once in a block that is not compiled, in widths of the tokens: the feed-forward's hidden layer twice,
beside rotary tables and residuals. Traced: benchmarks/sampling_memory.py."""
DEQUANTISED, BESIDE_WIDTHS = 2, 15.8
"""A weight in 8 bits as it is multiplied: its values in the dtype of the rest, and those times their scales; and what
is alive beside the largest one. Traced too."""
BY_TOKEN_WIDTHS = 20.8
"""Beside them where tokens have timesteps of their own: the modulation of every token."""
CONTEXTS = 4
"""Texts of a clip that lie on the device at once: the prompt's and the negative one's, as given and as the blocks read
them."""


@dataclass(frozen=True)
class ModelSizes:
    """Counts of weights, and widths. The blocks are alike, so one stands for all."""

    num_blocks: int
    width: int
    """Of a video token between blocks."""
    audio_width: int
    block_products: int
    """Weights of one block that 8 bits can hold."""
    block_rows: int
    """Rows of those, which have a float32 scale each."""
    block_rest: int
    """Weights of one block that keep their dtype: biases, norms, modulation tables."""
    outside: int
    """Weights of the transformer outside its blocks."""
    connectors: int = 0
    """Weights of the text connectors, which stay on the device in training."""
    layers: Mapping[str, int] = field(default_factory=dict)
    """Weights of each linear layer of a block that 8 bits can hold, by its name in the transformer."""

    def block_bytes(self, *, in_8_bits: bool, item_bytes: int) -> int:
        """Frozen weights of one block."""
        products = self.block_products + 4 * self.block_rows if in_8_bits else self.block_products * item_bytes
        return products + self.block_rest * item_bytes

    @property
    def largest_layer(self) -> int:
        """Weights of the largest of them."""
        return max(self.layers.values(), default=0)

    def native_bytes(self, names: Collection[str], item_bytes: int) -> tuple[int, int]:
        """Return what layers that keep their dtype take beyond their 8 bits: all together, and those of one block at
        most."""
        by_block: dict[str, int] = {}
        for name in names:
            block = name.split(".")[1]
            by_block[block] = by_block.get(block, 0) + self.layers[name] * (item_bytes - 1)
        return sum(by_block.values()), max(by_block.values(), default=0)


def model_sizes(transformer: Shapes, connectors: Shapes | None = None) -> ModelSizes:
    """Sizes from shapes by the names in diffusers' modules.

    Raises:
        CheckpointError: these are no transformer's.
    """
    blocks: dict[int, dict[str, tuple[int, ...]]] = {}
    for name, shape in transformer.items():
        if name.startswith(BLOCKS):
            blocks.setdefault(int(name.split(".")[1]), {})[name] = shape
    if not blocks or not {"proj_in.weight", "audio_proj_in.weight"} <= transformer.keys():
        raise CheckpointError(f"{sorted(transformer)[:3]} are no LTX-2 transformer's tensors; give a whole checkpoint")
    largest = max(blocks.values(), key=lambda block: sum(map(math.prod, block.values())))
    products = [shape for name, shape in largest.items() if _is_product(name, shape)]
    weights = sum(map(math.prod, largest.values()))
    narrow = sum(map(math.prod, products))
    return ModelSizes(
        num_blocks=len(blocks),
        width=transformer["proj_in.weight"][0],
        audio_width=transformer["audio_proj_in.weight"][0],
        block_products=narrow,
        block_rows=sum(rows for rows, _ in products),
        block_rest=weights - narrow,
        outside=sum(math.prod(shape) for name, shape in transformer.items() if not name.startswith(BLOCKS)),
        connectors=sum(map(math.prod, (connectors or {}).values())),
        layers={
            name.removesuffix(".weight"): math.prod(shape)
            for block in blocks.values()
            for name, shape in block.items()
            if _is_product(name, shape)
        },
    )


def linear_shapes(transformer: Shapes) -> dict[str, tuple[int, ...]]:
    """[out, in] of the linear layers' weights, by module."""
    return {n.removesuffix(".weight"): s for n, s in transformer.items() if n.endswith(".weight") and len(s) == 2}


def _is_product(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether it is the weight of a linear layer that is quantised."""
    return name.endswith(".weight") and len(shape) == 2 and all(side % MULTIPLE == 0 for side in shape)


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
    """True if timesteps differ within a clip, as a clean first frame makes them; modulation is then by token."""


def transformer_estimate(terms: Mapping[str, int], lasting: Collection[str], host_bytes: int) -> Estimate:
    """The estimate with what PyTorch's allocator holds beside a peak of the transformer."""
    reserve = round(sum(terms.values()) * (1 + RESERVE_SHARE)) + RESERVE_BYTES - sum(terms.values())
    return Estimate(terms, frozenset(lasting), host_bytes, reserve)


@dataclass(frozen=True)
class SamplingOptions:
    """Settings that renders are sampled with."""

    engine: EngineOptions
    together: bool = False
    """The conditional and the unconditional pass are one forward of twice the batch."""


@dataclass(frozen=True)
class Sampling:
    """The work of a forward, wherever its blocks lie."""

    sizes: ModelSizes
    batch: BatchShape
    """Of the largest render; one clip."""
    item_bytes: int = 2
    """Of the base's dtype."""
    adapter_bytes: int = 0
    """Weights of the largest set of adapters."""
    asked: EngineOptions = field(default_factory=lambda: EngineOptions(forward_only=True))
    chooses: bool = True
    """Choose how many blocks are offloaded; otherwise as `asked`, fit or not."""
    has_pairs: bool = False
    """True if some render has an unconditional pass."""

    def ways(self) -> Iterable[SamplingOptions]:
        """As few offloaded blocks as fit, and of those two passes in one forward, which copies them once, if that
        fits."""
        if not self.chooses:
            return [SamplingOptions(self.asked, self.has_pairs)]
        numbers, batches = range(self.sizes.num_blocks + 1), (True, False) if self.has_pairs else (False,)
        return [SamplingOptions(self.asked.replaced(offloaded_blocks=n), pair) for n in numbers for pair in batches]

    def estimate(self, options: SamplingOptions) -> Estimate:
        """The memory of a forward with these options."""
        batch = replace(self.batch, size=2 * self.batch.size) if options.together else self.batch
        return self._estimate(options.engine, batch)

    def _estimate(self, options: EngineOptions, batch: BatchShape) -> Estimate:
        sizes, offloaded = self.sizes, options.offloaded_blocks
        block = sizes.block_bytes(in_8_bits=options.precision != "native", item_bytes=self.item_bytes)
        text = self.batch.size * batch.text_tokens * (sizes.width + sizes.audio_width) * self.item_bytes
        lasting = {
            "frozen weights": sizes.outside * self.item_bytes + (sizes.num_blocks - offloaded) * block,
            "slots of offloaded weights": options.num_slots * block if offloaded else 0,
            "adapters": self.adapter_bytes,
            "contexts and workspaces": CONTEXTS * text + WORKSPACE_BYTES,
        }
        values = batch.size * (batch.video_tokens * sizes.width + batch.audio_tokens * sizes.audio_width)
        by_token = BY_TOKEN_WIDTHS if batch.by_token else 0
        work = round((WORK_WIDTHS + by_token) * values * self.item_bytes)
        if options.precision != "native":
            held = DEQUANTISED * sizes.largest_layer + round((BESIDE_WIDTHS + by_token) * values)
            work = max(work, held * self.item_bytes)
        return transformer_estimate(lasting | {"one block's work": work}, lasting.keys(), offloaded * block)

    def why(self, options: SamplingOptions, budget_bytes: int) -> str:
        """The offloaded blocks and the memory, in words."""
        estimate = self.estimate(options)
        both = ", conditional and unconditional pass in one forward" if options.together else ""
        return (
            f"{options.engine.offloaded_blocks} of {self.sizes.num_blocks} blocks offloaded{both}: a render takes "
            f"{estimate.peak_bytes / GIB:.1f} GiB, with the allocator's reserve {estimate.needed_bytes / GIB:.1f}, of "
            f"{budget_bytes / GIB:.1f} that can be had"
        )

    def refusal(self, least: SamplingOptions, budget_bytes: int) -> str:
        """The memory with all blocks offloaded, and what would help."""
        estimate = self.estimate(SamplingOptions(least.engine.replaced(offloaded_blocks=self.sizes.num_blocks)))
        return (
            f"a render of {self.batch.video_tokens} video tokens needs {estimate.needed_bytes / GIB:.1f} GiB with all "
            f"blocks offloaded, and {budget_bytes / GIB:.1f} GiB can be had: {estimate.describe()} (GiB). Use smaller "
            f"or shorter renders, fewer adapters at once, or render_validation.base_precision: int8."
        )
