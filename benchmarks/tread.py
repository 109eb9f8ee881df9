"""A LoRA step of the full-size LTX-2.0 transformer with and without a route (TREAD): seconds and peak memory.

    python benchmarks/tread.py --out results.jsonl       # about two minutes on one H200
    python benchmarks/tread.py --tiny                    # tries the script on a CPU

fp8 by default, all weights resident, only what is cheap computed again, compiled blocks, a CUDA graph. The route is the
one of the quickstart: half of the video tokens skip blocks 2 to -2.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.engine import (
    DEVICE,
    SHAPES,
    batch,
    empty_transformer,
    forward_backward,
    random_tensors,
    steps,
    with_lora,
)
from benchmarks.engine_table import collect
from benchmarks.lines import say
from ltx_core.adapters.lora import lora_parameters
from ltx_core.engine.assemble import assemble, set_policies
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions

WAYS = ("no route", "route")


def random_kept(data: dict[str, torch.Tensor], ratio: float) -> torch.Tensor:
    """[B, K]: all video tokens of each sample but the share `ratio`, ascending."""
    size, count = data["video"].shape[:2]
    kept = count - round(count * ratio)
    order = torch.rand(size, count, generator=torch.Generator().manual_seed(0)).argsort(dim=1)
    return order[:, :kept].sort(dim=1).values.to(DEVICE)


def rows(transformer: Any, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every shape without the route, then with it; `faster` is the share of the time that it saves."""
    parameters = list(lora_parameters(transformer).values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=DEVICE.type == "cuda")
    route = range(2, args.blocks - 1)
    for shape in args.shapes:
        whole = 0.0
        for way in args.ways:
            torch._dynamo.reset()
            data = batch(transformer, SHAPES[shape], args.text)
            if way != WAYS[0]:
                data["kept"] = random_kept(data, args.ratio)
            work = forward_backward(transformer, autocast=False, route=route if "kept" in data else range(0))
            step = StepGraphs(work, parameters) if DEVICE.type == "cuda" else work
            found = steps(step, data, parameters, optimizer)
            if way == WAYS[0]:
                whole = found.get("seconds", 0.0)
            faster = {"faster": round(1 - found["seconds"] / whole, 3)} if whole else {}
            yield {"row": way, "shape": shape, "ratio": args.ratio if "kept" in data else 0, **found, **faster}
            del step, work
            collect()


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--precision", default="fp8", choices=["native", "int8", "fp8"])
    parser.add_argument("--budget", type=float, default=0.99, help="of activations; 1 at 121 wants a card of 80 GiB")
    parser.add_argument("--generation", default="2.0")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--shapes", nargs="+", default=["121", "17", "49"], choices=sorted(SHAPES))
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    args.text = 1024
    if args.tiny:
        args.precision = "int8"
        args.text, args.shapes, args.blocks = 8, ["tiny"], 5
    budget = 1.0 if args.tiny else args.budget
    options = EngineOptions(precision=args.precision, activation_budget=budget, fused=True, compiled=not args.tiny)
    transformer = empty_transformer(args.blocks, args.tiny, args.generation)
    assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE)
    set_policies(with_lora(transformer), options, None)
    for row in rows(transformer, args):
        say("tread", row, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
