"""The table of docs/benchmarks.md: a LoRA step of the full-size transformer, random weights, one GPU.

    python benchmarks/engine_table.py --warm --out results.jsonl                     # LTX-2.0, both shapes
    python benchmarks/engine_table.py --warm --generation 2.3 --out results.jsonl    # 1280x704x49
    python benchmarks/engine_table.py --tiny                                         # tries the script on a CPU

Plain diffusers + peft is measured first in the same run, and every row has its ratio to it. Each precision is built
once; rows then change policies, and move blocks to the host one after another. `--warm` first compiles two blocks for
every kind of row in processes side by side, so that the run itself finds its kernels in PyTorch's cache. Rank 32 on all
attention projections, AdamW in float32 or, where the row says so, bf16; 1,024 text tokens. Shares of recomputed blocks
are those of the memory plan, whose prediction stands beside the peak.
"""

import argparse
import gc
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
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
    precision_of,
    random_tensors,
    steps,
    synchronize,
    with_lora,
)
from benchmarks.engine_rows import Row, rows
from benchmarks.lines import say
from ltx_core.adapters.lora import lora_parameters
from ltx_core.denoiser.blocks import set_runner
from ltx_core.engine.assemble import assemble, set_policies
from ltx_core.engine.block_offload import BlockOffload
from ltx_core.engine.contiguous import HostArena
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions, checkpointed_blocks, offloaded_blocks
from ltx_core.engine.runner import PolicyRunner
from ltx_core.memory.training import Training, TrainingStep
from ltx_core.memory.transformer import BatchShape, model_sizes
from ltx_core.training.config import TrainSettings
from ltx_core.training.optimizer import make_optimizer

PLAIN = "plain diffusers + peft"
PRECISIONS = ("fp8", "int8", "fp8-weights", "int8-weights", "native")


class TrainedWith:
    """The optimizer that training runs, called as PyTorch's are."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], name: str) -> None:
        self._parameters = list(parameters.values())
        self._optimizer = make_optimizer(parameters, TrainSettings(optimizer=name, learning_rate=1e-5))  # type: ignore[arg-type]

    def step(self) -> None:
        """Update every parameter."""
        self._optimizer.step(0)

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Drop gradients."""
        for parameter in self._parameters:
            parameter.grad = None


class Bench:
    """One precision's transformer with its adapter and optimizer, and the rows measured on it."""

    def __init__(self, precision: str, args: argparse.Namespace) -> None:
        self.args, self.precision = args, precision
        options = EngineOptions(**precision_of(precision), fused=True, compiled=not args.tiny)
        self.transformer = empty_transformer(args.blocks, args.tiny, args.generation)
        self.sizes = model_sizes({n: tuple(t.shape) for n, t in self.transformer.state_dict().items()})
        assemble(self.transformer, partial(random_tensors, self.transformer), options, device=DEVICE)
        with_lora(self.transformer)
        set_policies(self.transformer, options, None)
        self.parameters = list(lora_parameters(self.transformer).values())
        self.stream: BlockOffload | None = None
        self.trained_with = ""
        self.budget = 1.0

    def run(self, row: Row) -> dict[str, Any]:
        """Measure a row; blocks that were streamed before stay so."""
        self._prepare(row)
        recompute = self._recompute(row) if row.recompute is None else row.recompute
        options = self._options(row, recompute)
        set_runner(self.transformer, PolicyRunner())  # or what waits on the host would be there twice
        collect()
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
        how = {"recompute": round(recompute, 3), "streamed": len(self.stream or ()), "budget": row.budget}
        how["offload_gib"] = round(options.activation_offload / GIB, 2)
        return {**how, "optimizer": row.optimizer, "predicted_gib": round(self._predict(row, recompute), 2), **found}

    def _prepare(self, row: Row) -> None:
        blocks = self.transformer.transformer_blocks
        if row.streamed and self.stream is None:
            self.stream = BlockOffload(DEVICE, HostArena(pinned=DEVICE.type == "cuda"))
        for index in offloaded_blocks(len(blocks), row.streamed):
            if self.stream is not None and index not in self.stream:
                self.stream.adopt(index, blocks[index])
        if row.optimizer != self.trained_with:
            self.optimizer = TrainedWith(lora_parameters(self.transformer), row.optimizer)
        if (row.optimizer, row.budget) != (self.trained_with, self.budget):
            # Nothing else makes it cut the graph anew, or see (torch 2.11) that the LoRA is in bf16 now.
            torch._dynamo.reset()
            self.trained_with, self.budget = row.optimizer, row.budget
        collect()

    def _options(self, row: Row, recompute: float) -> EngineOptions:
        return EngineOptions(
            **precision_of(self.precision),
            offloaded_blocks=row.streamed,
            activation_checkpointing=recompute,
            activation_budget=1.0 if self.args.tiny else row.budget,
            activation_offload=0 if recompute == 1 else self._offload(row, recompute),
            compiled=not self.args.tiny,
            graphs=DEVICE.type == "cuda",
        )

    def _offload(self, row: Row, recompute: float) -> int:
        """Bytes of a step."""
        blocks = len(self.transformer.transformer_blocks)
        return round(row.offload * GIB) * (blocks - len(checkpointed_blocks(blocks, recompute)))

    def _predict(self, row: Row, recompute: float) -> float:
        height, width, frames, size = SHAPES[row.shape]
        tokens = ((frames - 1) // 8 + 1) * (height // 32) * (width // 32)
        shape = BatchShape(size, tokens, max(1, frames), self.args.text)
        training = Training(sum(p.numel() for p in self.parameters), row.optimizer)
        return TrainingStep(self.sizes, shape, training).estimate(self._options(row, recompute)).peak_bytes / GIB

    def _recompute(self, row: Row) -> float:
        """The smallest share of blocks that is predicted to fit; all, if none is."""
        blocks = len(self.transformer.transformer_blocks)
        shares = (number / blocks for number in range(blocks))
        return next((share for share in shares if self._predict(row, share) < row.limit_gib), 1.0)


def baseline(args: argparse.Namespace, shapes: list[str]) -> Iterator[dict[str, Any]]:
    """Plain diffusers + peft: every block recomputed, nothing compiled, autocast."""
    transformer = empty_transformer(args.blocks, args.tiny, args.generation)
    options = EngineOptions(activation_checkpointing=1.0)
    assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE)
    with_lora(transformer, plain=True)
    set_policies(transformer, options, None)
    parameters = list(lora_parameters(transformer).values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=DEVICE.type == "cuda")
    work = forward_backward(transformer, autocast=True)
    for shape in shapes:
        data = batch(transformer, SHAPES["tiny" if args.tiny else shape], args.text)
        yield {"row": PLAIN, "precision": "native", "shape": shape, **steps(work, data, parameters, optimizer)}


def collect() -> None:
    """Give back what nothing holds. cuBLAS keeps 64 MiB for every stream it ever ran on, and each row captures on
    another one: twelve rows on, a peak would have 0.7 GiB in it that no run of one kind of step has."""
    gc.collect()
    if DEVICE.type == "cuda":
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()


def warm(args: argparse.Namespace) -> set[tuple[str, str]]:
    """Compile every kind of row on a few blocks, all kinds at once; results are thrown away. Gives those that fail."""
    started = time.monotonic()
    kinds = {(p, row.kind) for p in args.precisions for row in chosen(args, p)}
    environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": "2"}
    running = {}
    for precision, kind in sorted(kinds):
        blocks = "4" if Row.of_kind(kind).offload else "2"  # the last two blocks' activations never leave
        command = [sys.executable, __file__, "--blocks", blocks, "--generation", args.generation, "--no-baseline"]
        command += ["--precisions", precision, "--kind", kind, *(["--tiny"] if args.tiny else [])]
        running[precision, kind] = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    failed = {key for key, process in running.items() if process.wait() != 0}
    print(f"warmed {len(running)} kinds in {time.monotonic() - started:.0f} s; failed: {sorted(failed)}", flush=True)  # noqa: T201
    return failed


def chosen(args: argparse.Namespace, precision: str) -> list[Row]:
    """The rows of a precision, or the one that `--kind` names."""
    if args.kind is None:
        return [row for row in rows(precision, args.blocks, args.generation) if args.only in row.name]
    return [Row.of_kind(args.kind)]


def measure(args: argparse.Namespace, failed: Collection[tuple[str, str]] = ()) -> None:
    """Print every row, but those of kinds that `failed` on a few blocks: they would end the run."""
    shapes = sorted({row.shape for precision in args.precisions for row in chosen(args, precision)})
    plain: dict[str, float] = {}
    for found in [] if args.no_baseline else baseline(args, shapes):
        plain[found["shape"]] = found.get("seconds", 0.0)
        say("engine", {"generation": args.generation, **found}, args.out)
    collect()
    for precision in args.precisions:
        started = time.monotonic()
        bench = Bench(precision, args)
        synchronize()
        print(f"{precision}: built in {time.monotonic() - started:.1f} s", flush=True)  # noqa: T201
        for row in chosen(args, precision):
            found = {"row": row.name, "precision": precision, "shape": row.shape, "limit_gib": row.limit_gib}
            run = {"error": "failed on a few blocks"} if (precision, row.kind) in failed else bench.run(row)
            found |= {"generation": args.generation, **run}
            if found.get("seconds") and plain.get(row.shape):
                found["times_plain"] = round(plain[row.shape] / found["seconds"], 2)
            say("engine", found, args.out)
        del bench
        torch._dynamo.reset()
        collect()


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--generation", choices=("2.0", "2.3"), default="2.0")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=["fp8", "native"])
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--warm", action="store_true", help="fill PyTorch's compile cache first, in many processes")
    parser.add_argument("--warm-only", action="store_true", help="fill the cache, and stop")
    parser.add_argument("--kind", help="one row alone: SHAPE,BUDGET,OFFLOAD,OPTIMIZER")
    parser.add_argument("--no-baseline", action="store_true", help="leave plain diffusers + peft out")
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    args.text = 8 if args.tiny else 1024
    failed = warm(args) if args.warm or args.warm_only else set()
    if not args.warm_only:
        measure(args, failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
