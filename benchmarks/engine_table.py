"""The table of docs/benchmarks.md: a LoRA step of the full-size LTX-2.0 transformer, random weights, one GPU.

    python benchmarks/engine_table.py --out results.jsonl       # about seven minutes on one H200
    python benchmarks/engine_table.py --tiny                    # tries the script on a CPU

Plain diffusers + peft is measured in the same run. Each precision is built once; rows then change policies, and move
blocks to the host one after another, so that each block is compiled once for a shape. Rank 32 on all attention
projections, AdamW, 1,024 text tokens. Shares of recomputed blocks are chosen from memory measured before.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.engine import (
    DEVICE,
    GIB,
    SHAPES,
    batch,
    empty_transformer,
    forward_backward,
    random_tensors,
    steps,
    synchronize,
    with_lora,
)
from ltx_core.engine.arena import HostArena
from ltx_core.engine.assemble import assemble, set_policies
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.shares import streamed_blocks
from ltx_core.engine.streaming import BlockStream
from ltx_core.lora.inject import lora_parameters
from ltx_core.training.config import TrainSettings
from ltx_core.training.optimizer import make_optimizer

ACTIVATIONS_GIB = {("native", "17"): 0.51, ("native", "121"): 1.24, ("fp8", "17"): 0.53, ("fp8", "121"): 1.31}
"""Kept for the backward by one compiled block that is not recomputed; measured with eight blocks."""
RECOMPUTED_GIB = {"17": 0.02, "121": 0.05}
"""Kept by one that is: the two residual streams."""


@dataclass(frozen=True)
class Row:
    """One cell of the table."""

    name: str
    shape: str
    limit_gib: float
    streamed: int = 0
    recompute: float | None = None
    """None: as few blocks as fit the limit."""
    budget: float = 1.0
    slots: int = 2


class TrainedWith:
    """The optimizer that training runs, called as PyTorch's are."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self._parameters = list(parameters.values())
        self._optimizer = make_optimizer(parameters, TrainSettings())

    def step(self) -> None:
        """Update every parameter."""
        self._optimizer.step(1e-5)

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Drop gradients."""
        for parameter in self._parameters:
            parameter.grad = None


class Bench:
    """One precision's transformer with its adapter and optimizer, and the rows measured on it."""

    def __init__(self, precision: str, args: argparse.Namespace) -> None:
        self.args, self.precision = args, precision
        options = EngineOptions(precision=precision, fused=True, compiled=not args.tiny)  # type: ignore[arg-type]
        self.transformer = empty_transformer(args.blocks, args.tiny, args.generation)
        assemble(self.transformer, partial(random_tensors, self.transformer), options, device=DEVICE)
        with_lora(self.transformer)
        set_policies(self.transformer, options, None)
        self.parameters = list(lora_parameters(self.transformer).values())
        self.optimizer = TrainedWith(lora_parameters(self.transformer))
        self.stream: BlockStream | None = None

    def run(self, row: Row) -> dict[str, Any]:
        """Measure a row; blocks that were streamed before stay so."""
        self._stream_blocks(row)
        recompute = self._recompute(row) if row.recompute is None else row.recompute
        options = EngineOptions(
            recompute=recompute,
            activation_budget=row.budget,
            compiled=not self.args.tiny,
            graphs=DEVICE.type == "cuda",
        )
        if row.budget < 1:
            torch._dynamo.reset()
        set_policies(self.transformer, options, self.stream)
        work = forward_backward(self.transformer, autocast=False)
        step = StepGraphs(work, self.parameters, self.stream) if options.graphs else work
        data = batch(self.transformer, SHAPES["tiny" if self.args.tiny else row.shape], self.args.text)
        try:
            found = steps(step, data, self.parameters, self.optimizer)
        except torch.OutOfMemoryError as error:
            found = {"error": str(error)[:150]}
        del step, work
        collect()
        return {"recompute": round(recompute, 3), "streamed": len(self.stream or ()), "budget": row.budget, **found}

    def _stream_blocks(self, row: Row) -> None:
        blocks = self.transformer.transformer_blocks
        if row.streamed and self.stream is None:
            self.stream = BlockStream(DEVICE, HostArena(pinned=DEVICE.type == "cuda"), num_slots=row.slots)
        for index in streamed_blocks(len(blocks), row.streamed):
            if self.stream is not None and index not in self.stream:
                self.stream.adopt(index, blocks[index])
        collect()

    def _recompute(self, row: Row) -> float:
        """The smallest share of blocks that fits."""
        if self.args.tiny:
            return 0.5
        kind = "native" if self.precision == "native" else "fp8"  # both formats keep the same inputs, in bf16
        kept, again = ACTIVATIONS_GIB[kind, row.shape], RECOMPUTED_GIB[row.shape]
        trained = sum(p.numel() for p in self.parameters) * 16 / GIB  # weights, gradients and moments in float32
        frozen = sum(p.numel() * p.element_size() for p in self.transformer.parameters() if not p.requires_grad) / GIB
        room = row.limit_gib - 1.5 - trained - frozen - kept
        blocks = len(self.transformer.transformer_blocks)
        share = (blocks * kept - room) / (blocks * (kept - again))
        return min(1.0, max(0.0, share))


def rows(precision: str, blocks: int) -> Iterator[Row]:
    """In an order in which weights only ever go to the host."""
    if precision == "native":
        for shape in ("17", "121"):
            yield Row("bf16 resident, fits 80 GB", shape, 76)
        for shape, limit in (("17", 7), ("121", 9.5)):
            yield Row("bf16 streamed", shape, limit, streamed=blocks, recompute=1.0)
        return
    for name, limit in (("8 bits resident, fits 48 GB", 46), ("8 bits resident, fits 32 GB", 30)):
        for shape in ("17", "121"):
            yield Row(name, shape, limit)
    for shape, limit, streamed in (("121", 14, max(1, blocks - 10)), ("17", 12, max(1, blocks - 10))):
        yield Row("8 bits streamed, fits 16 GB", shape, limit, streamed=streamed, recompute=1.0)
    for shape, limit in (("17", 7), ("121", 9.5)):
        yield Row("8 bits streamed, fits 12 GB", shape, limit, streamed=blocks, recompute=1.0)


def baseline(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Plain diffusers + peft: every block recomputed, nothing compiled, autocast."""
    transformer = empty_transformer(args.blocks, args.tiny, args.generation)
    options = EngineOptions(recompute=1.0)
    assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE)
    with_lora(transformer)
    set_policies(transformer, options, None)
    parameters = list(lora_parameters(transformer).values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=DEVICE.type == "cuda")
    work = forward_backward(transformer, autocast=True)
    for shape in ("17", "121"):
        data = batch(transformer, SHAPES["tiny" if args.tiny else shape], args.text)
        yield {"row": "plain diffusers + peft", "shape": shape, **steps(work, data, parameters, optimizer)}


def collect() -> None:
    """Give back what nothing holds."""
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()


def say(found: dict[str, Any], out: Path | None) -> None:
    """Print a line, and append it to the results."""
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "cpu"
    found = {"part": "engine", "date": time.strftime("%Y-%m-%d"), "gpu": name, "torch": torch.__version__, **found}
    print(json.dumps(found), flush=True)  # noqa: T201
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--generation", default="2.0")
    parser.add_argument("--precisions", nargs="+", choices=("fp8", "int8", "native"), default=["fp8", "native"])
    parser.add_argument("--budgets", nargs="+", type=float, help="only try these budgets of activations in blocks")
    parser.add_argument("--no-baseline", action="store_true", help="leave plain diffusers + peft out")
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    args.text = 8 if args.tiny else 1024
    torch.backends.cuda.enable_flash_sdp(False)  # cuDNN's attention is the faster one on Hopper
    for precision in args.precisions:
        started = time.monotonic()
        bench = Bench(precision, args)
        synchronize()
        print(f"{precision}: built in {time.monotonic() - started:.1f} s", flush=True)  # noqa: T201
        chosen = list(rows(precision, args.blocks))
        if args.budgets:
            limit = 76 if precision == "native" else 46
            chosen = [Row(f"budget, under {limit}", "121", limit, recompute=0.0, budget=b) for b in args.budgets]
        for row in chosen:
            say(
                {
                    "row": row.name,
                    "precision": precision,
                    "shape": row.shape,
                    "limit_gib": row.limit_gib,
                    **bench.run(row),
                },
                args.out,
            )
        del bench
        torch._dynamo.reset()
        collect()
    for found in [] if args.no_baseline else baseline(args):
        say(found, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
