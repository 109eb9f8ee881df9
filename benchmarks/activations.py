"""What a compiled block keeps for its backward, and what it computes again, by budget: no GPU, no weights, no step.

    PYTHONPATH=. python benchmarks/activations.py --shapes 121 --precisions native fp8 --budgets 1 0.99 0.4 0.3

One full-size block is traced with tensors that have shapes and no values, and PyTorch's partitioner decides as it would
for a GPU. `tflop_again` is what the backward multiplies again; a GPU's rate makes seconds of it.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch import config as functorch_config
from torch._functorch.aot_autograd import make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.fx_utils import get_node_storage
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks import engine
from benchmarks.lines import say
from ltx_core.adapters.lora import add_lora, target_modules
from ltx_core.denoiser.prepare import prepare
from ltx_core.denoiser.tokens import Stream
from ltx_core.engine import low_precision
from ltx_core.engine.attention import FusedAttnProcessor
from ltx_core.engine.compiling import ATTENTIONS, keeping_attention, use_quick_gelu
from ltx_core.engine.low_precision import Format, LowPrecision, quantise_linears

GIB = 2**30
PRODUCTS = ("aten.mm", "aten.addmm", "aten._scaled_mm", "aten._int_mm")

PRECISIONS = ("native", "int8", "fp8", "int8-weights", "fp8-weights")
TRACED = {"gpu": "traced, no GPU"}
"""What a line was measured on that no machine measured."""


@dataclass(frozen=True)
class Partition:
    """How the graph of one block was cut in two."""

    kept_bytes: int
    """Made in the forward and read in the backward; neither weights nor the block's inputs."""
    tflop: float
    """Of the matrix products in the backward, those of the forward that are computed again among them."""
    attentions_again: int


class Graphs:
    """Stands in for a compiler and keeps what it was given."""

    def __init__(self) -> None:
        self.forward: Any = None
        self.backward: Any = None

    def take_forward(self, graph: Any, examples: Any) -> Any:
        """The forward's graph, run as it is."""
        self.forward = graph
        return make_boxed_func(graph)

    def take_backward(self, graph: Any, examples: Any) -> Any:
        """The backward's."""
        self.backward = graph
        return make_boxed_func(graph)


def partition(precision: str, shape: str, budget: float, *, tiny: bool = False) -> Partition:
    """Cut one block for one batch. `budget` is the engine's `activation_budget`."""
    torch._dynamo.reset()
    graphs = Graphs()
    backend = aot_autograd(
        fw_compiler=graphs.take_forward,
        bw_compiler=graphs.take_backward,
        decompositions=select_decomp_table,
        partition_fn=min_cut_rematerialization_partition,
    )
    with without_values(precision, tiny=tiny) as transformer:
        video, audio, arguments = inputs(transformer, shape)
        block = transformer.transformer_blocks[0]
        with functorch_config.patch(activation_memory_budget=budget):
            if budget < 1:
                compiled = torch.compile(keeping_attention, backend=backend, fullgraph=True, dynamic=False)
                made = compiled(block, video, audio, arguments)
            else:
                made = torch.compile(block, backend=backend, fullgraph=True, dynamic=False)(video, audio, **arguments)
            (made[0].sum() + made[1].sum()).backward()
    attentions = sum(node.target in ATTENTIONS for node in graphs.backward.graph.nodes)
    return Partition(_kept_bytes(graphs.forward), _tflop(graphs.backward), attentions)


@contextmanager
def without_values(
    precision: str, *, tiny: bool, generation: str = "2.0", blocks: int = 1, fused: bool = True
) -> Iterator[Any]:
    """A transformer of a few blocks with a LoRA, in full size, whose tensors take no memory. `int8-weights` are
    dequantised for each product."""
    transformer = engine.empty_transformer(blocks, tiny, generation).to(torch.bfloat16)
    for block in transformer.transformer_blocks if precision != "native" else ():
        kind, _, weights = precision.partition("-")
        quantise_linears(block, LowPrecision(cast(Format, kind), low_backward=not weights, low_forward=not weights))
    transformer.requires_grad_(False)
    with torch.device("meta"):
        modules = target_modules(transformer, "audio+video")
        add_lora(transformer, modules, rank=engine.RANK, alpha=engine.RANK, seed=0)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, patch.object(low_precision, "wide_product", _wide_product):
        for module in transformer.modules():
            for name, tensor in module._parameters.items():
                if tensor is not None:
                    like = torch.empty(tensor.shape, dtype=tensor.dtype)
                    module._parameters[name] = torch.nn.Parameter(like, requires_grad=tensor.requires_grad)
            for name, tensor in module._buffers.items():
                if tensor is not None:
                    module._buffers[name] = torch.empty(tensor.shape, dtype=tensor.dtype)
            if fused and hasattr(module, "set_processor"):
                module.set_processor(FusedAttnProcessor())
        if fused:
            use_quick_gelu(transformer)
        yield transformer


def _wide_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """As on a GPU."""
    return torch.mm(x, weight.t(), out_dtype=torch.float32)


def inputs(transformer: Any, shape: str) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """The block's two streams and everything else it is given."""
    data = engine.batch(transformer, engine.SHAPES[shape], 1024)
    sigma = data["sigma"]
    video = Stream(data["video"], sigma, sigma, data["video_context"], data["video_positions"])
    audio = Stream(data["audio"], sigma, sigma, data["audio_context"], data["audio_positions"])
    with torch.no_grad():
        hidden, call, _ = prepare(transformer, video, audio, isolate=False)
    return hidden.video.detach().requires_grad_(), hidden.audio.detach().requires_grad_(), call.of(0)


def _kept_bytes(forward: Any) -> int:
    """Of the forward's results beyond the block's two; views of one piece of memory count once."""
    (results,) = next(node for node in forward.graph.nodes if node.op == "output").args
    sizes: dict[Any, int] = {}
    for node in results[2:]:
        value = getattr(node, "meta", {}).get("val")
        if isinstance(value, torch.Tensor) and node.op != "placeholder":
            place = get_node_storage(node) or node
            sizes[place] = max(sizes.get(place, 0), value.numel() * value.element_size())
    return sum(sizes.values())


def _tflop(backward: Any) -> float:
    total = 0
    for node in backward.graph.nodes:
        name = str(node.target).rpartition(".")[0]
        if name in PRODUCTS:
            factor = node.args[2 if name == "aten.addmm" else 1]  # [K, N]
            total += 2 * node.meta["val"].numel() * factor.meta["val"].shape[0]
    return total / 1e12


def main() -> int:
    """Print one line of JSON for each precision, shape and budget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["native", "fp8"])
    parser.add_argument("--shapes", nargs="+", choices=sorted(engine.SHAPES), default=["121"])
    parser.add_argument("--budgets", nargs="+", type=float, default=[1, 0.99, 0.5, 0.4, 0.3, 0.2])
    parser.add_argument("--tiny", action="store_true", help="toy sizes")
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    engine.DEVICE = torch.device("cpu")
    for precision, shape in ((p, s) for p in args.precisions for s in args.shapes):
        first = partition(precision, shape, 1, tiny=args.tiny)
        for budget in args.budgets:
            found = first if budget == 1 else partition(precision, shape, budget, tiny=args.tiny)
            row = {"row": precision, "shape": shape, "budget": budget}
            row |= {"kept_gib": round(found.kept_bytes / GIB, 4), "tflop_again": round(found.tflop - first.tflop, 3)}
            say("activations", {**TRACED, **row, "attentions_again": found.attentions_again}, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
