"""The loss of a run's first steps, each way of computing them beside float32, and how long a step takes.

    python benchmarks/first_steps.py --out results.jsonl     # the whole model, random weights; 76 GiB in float32
    python benchmarks/first_steps.py --tiny                  # tries the script on a CPU

A fresh LoRA of rank 32 on all attention projections, AdamW at 1e-4, the same clip at every step, so that the loss falls
by what the LoRA has learnt of it. `rounded` ways add the LoRA to results that are rounded already, as peft's layers do
and as was done here until 2026-11-30. `fell` is by how much the loss has fallen after a step, `of_float32` the share of
what it falls by in float32. Needs no Prefect, no MLflow, no PyAV.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.engine import (
    DEVICE,
    SHAPES,
    batch,
    empty_transformer,
    forward_backward,
    precision_of,
    random_tensors,
    synchronize,
    with_lora,
)
from benchmarks.engine_table import collect
from benchmarks.lines import say
from ltx_core.adapters.lora import lora_parameters
from ltx_core.engine import projection
from ltx_core.engine.assemble import assemble, set_policies
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions

LEARNING_RATE = 1e-4
REFERENCE = "float32"
TOLD = (1, 5, 20)
"""Steps after which the loss is told."""


@dataclass(frozen=True)
class Way:
    """How steps are computed."""

    precision: str = "native"
    wide: bool = False
    """In float32."""
    eager: bool = False
    rounded: bool = False
    """The LoRA is added to rounded results."""


WAYS = {
    REFERENCE: Way(wide=True, eager=True),
    "bf16, eager, rounded": Way(eager=True, rounded=True),
    "bf16, eager": Way(eager=True),
    "bf16, rounded": Way(rounded=True),
    "bf16": Way(),
    "int8 weights": Way("int8-weights"),
    "int8 products": Way("int8"),
    "fp8 weights": Way("fp8-weights"),
    "fp8 products, rounded": Way("fp8", rounded=True),
    "fp8 products": Way("fp8"),
}


def losses(way: Way, args: argparse.Namespace) -> tuple[list[float], float]:
    """Of each step, before its update, and one after the last; median seconds of a step."""
    quick = DEVICE.type == "cuda" and not way.eager
    options = EngineOptions(
        **precision_of(way.precision), activation_checkpointing=1.0, fused=True, compiled=quick, graphs=quick
    )
    transformer = empty_transformer(args.blocks, args.tiny, "2.0")
    assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE)
    if way.wide:
        transformer.float()
    with_lora(transformer)
    set_policies(transformer, options, None)
    parameters = lora_parameters(transformer)
    for name, parameter in parameters.items():
        if name.endswith("lora_B.weight"):
            parameter.data.zero_()
    data = batch(transformer, SHAPES[args.shape], args.text)
    if way.wide:
        data = {name: tensor.float() for name, tensor in data.items()}
    work = forward_backward(transformer, False)
    step = StepGraphs(work, list(parameters.values())) if options.graphs else work
    optimizer = torch.optim.AdamW(parameters.values(), lr=LEARNING_RATE, fused=quick)
    found, seconds = [], []
    for _ in range(args.steps + 1):
        begun = time.monotonic()
        loss = step(data)["loss"].clone()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        synchronize()
        seconds.append(time.monotonic() - begun)
        found.append(float(loss))
    return found, sorted(seconds)[len(seconds) // 2]


def lines(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every way."""
    reference: list[float] = []
    for name in args.ways:
        way = WAYS[name]
        with patch.object(projection, "unrounded", lambda *_: None) if way.rounded else patch.dict({}):
            found, seconds = losses(way, args)
        reference = reference or found
        fell = {step: found[0] - found[step] for step in TOLD if step <= args.steps}
        row = {"row": name, "first_loss": found[0]} | {f"fell_{step}": by for step, by in fell.items()}
        row |= {f"of_{args.ways[0]}_{step}": by / (reference[0] - reference[step]) for step, by in fell.items()}
        yield row | {"seconds": round(seconds, 4), "losses": " ".join(f"{loss:.4f}" for loss in found)}
        torch._dynamo.reset()
        collect()


def warm(args: argparse.Namespace) -> None:
    """Compile every way on two blocks, in processes side by side; what they find is in PyTorch's cache then."""
    quick = [name for name in args.ways if not WAYS[name].eager]
    command = [sys.executable, __file__, "--blocks", "2", "--steps", "1", "--shape", args.shape, "--ways"]
    running = [subprocess.Popen([*command, name], stdout=subprocess.DEVNULL) for name in quick]
    for process in running:
        process.wait()


def main() -> int:
    """Compare every way with the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy blocks; works on a CPU")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="17 of one clip")
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    parser.add_argument("--warm", action="store_true", help="compile first, in many processes")
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    args.text = 8 if args.tiny else 1024
    if args.tiny:
        args.blocks, args.shape = min(args.blocks, 12), "tiny"
    if args.warm:
        warm(args)
    for line in lines(args):
        say("first_steps", {"blocks": args.blocks, "shape": args.shape, **line}, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
