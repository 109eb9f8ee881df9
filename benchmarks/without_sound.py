"""A LoRA step of the full-size LTX-2.0 transformer on clips with sound and on clips without: seconds, peak memory, and
the largest gradient in the layers of each stream, which without sound is to be exactly 0 in all but the picture's.

    python benchmarks/without_sound.py --out results.jsonl       # about two minutes on one H200
    python benchmarks/without_sound.py --tiny                    # tries the script on a CPU

fp8 by default, all weights resident, only what is cheap computed again, compiled blocks, a CUDA graph for each kind of
batch as in training. `--blocks 4` is enough for the gradients.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
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
from ltx_core.adapters.lora_layout import stream_of
from ltx_core.engine.assemble import assemble, set_policies
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions

OF_SOUND = ("audio", "audio_positions")
"""What a batch of clips without sound lacks."""
ROWS = ("with sound", "without sound", "with sound again")
"""In one process, as a run meets them: neither kind is to cost the other anything."""


def largest_gradients(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, float]:
    """By stream; 0 where no parameter has a gradient."""
    found = {"video": 0.0, "audio": 0.0, "cross": 0.0}
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            found[stream_of(name)] = max(found[stream_of(name)], float(parameter.grad.abs().max()))
    return {f"{stream}_largest_gradient": value for stream, value in found.items()}


def rows(transformer: Any, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each shape with sound, without, and with it again; `of_with_sound` is the share of the first one's seconds."""
    named = lora_parameters(transformer)
    parameters = list(named.values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=DEVICE.type == "cuda")
    for shape in args.shapes:
        torch._dynamo.reset()
        work = forward_backward(transformer, autocast=False)
        run = StepGraphs(work, parameters) if DEVICE.type == "cuda" else work
        whole = 0.0
        for row in ROWS:
            data = batch(transformer, SHAPES[shape], args.text)
            if row == ROWS[1]:
                data = {name: tensor for name, tensor in data.items() if name not in OF_SOUND}
            found = steps(run, data, parameters, optimizer)
            run(data)
            gradients = largest_gradients(named)
            optimizer.zero_grad(set_to_none=True)
            whole = whole or found.get("seconds", 0.0)
            share = {"of_with_sound": round(found["seconds"] / whole, 3)} if whole else {}
            yield {"row": row, "shape": shape, "blocks": args.blocks, **found, **share, **gradients}
        del run, work
        collect()


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--precision", default="fp8", choices=["native", "int8", "fp8"])
    parser.add_argument("--budget", type=float, default=0.99, help="of activations; 1 at 121 wants a card of 80 GiB")
    parser.add_argument("--generation", default="2.0")
    parser.add_argument("--shapes", nargs="+", default=["121", "17"], choices=sorted(SHAPES))
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    args.text = 1024
    if args.tiny:
        args.precision = "int8"
        args.text, args.shapes, args.blocks = 8, ["tiny"], 2
    budget = 1.0 if args.tiny else args.budget
    options = EngineOptions(precision=args.precision, activation_budget=budget, fused=True, compiled=not args.tiny)
    transformer = empty_transformer(args.blocks, args.tiny, args.generation)
    assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE)
    set_policies(with_lora(transformer), options, None)
    for row in rows(transformer, args):
        say("without_sound", row, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
