"""Seconds from a process's start to its first training step at full size, 8-bit weights read from page cache.

    python benchmarks/start_up.py --out results.jsonl    # writes 19 GB of random weights first; under four minutes
    python benchmarks/start_up.py --tiny                 # tries the script on a CPU

Two processes are timed: one that compiles, and one that finds compiled code in the cache that the first left.
Rank 32 on all attention projections, AdamW, 1,024 text tokens. Needs no Prefect, no MLflow, no PyAV.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.engine import (
    DEVICE,
    GIB,
    SHAPES,
    batch,
    empty_transformer,
    forward_backward,
    random_tensors,
    synchronize,
    with_lora,
)
from benchmarks.lines import say
from ltx_core.adapters.lora import lora_parameters
from ltx_core.checkpoint.read import TensorReader
from ltx_core.engine.assemble import assemble, block_offload, set_policies
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.quantised_cache import QuantisedFolder, opened
from ltx_core.training.config import TrainSettings
from ltx_core.training.optimizer import make_optimizer


class Phases:
    """Seconds of each phase, one after another from the process's start."""

    def __init__(self, begun: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = begun

    def end(self, name: str) -> None:
        """What ran since the last call was this phase."""
        synchronize()
        now = time.time()
        self.seconds[f"{name}_s"], self._last = round(now - self._last, 2), now


def options_of(args: argparse.Namespace) -> EngineOptions:
    """As the product sets them on this device."""
    on_gpu = DEVICE.type == "cuda"
    return EngineOptions(
        precision=args.precision,
        offloaded_blocks=args.streamed,
        activation_checkpointing=args.recompute,
        fused=on_gpu,
        compiled=on_gpu,
        graphs=on_gpu,
    )


def write(args: argparse.Namespace) -> dict[str, Any]:
    """Random weights, quantised and kept; gives seconds and size."""
    begun = time.monotonic()
    transformer = empty_transformer(args.blocks, args.tiny, "2.0")
    options = EngineOptions(precision=args.precision)
    with TensorReader(device=str(DEVICE), dtype=torch.bfloat16) as reader, opened(_folder(args), reader) as cache:
        assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE, cache=cache)
    size = sum(path.stat().st_size for path in _folder(args).path.glob("*.safetensors"))
    return {"written_gib": round(size / GIB, 2), "writing_s": round(time.monotonic() - begun, 1)}


def start(args: argparse.Namespace) -> dict[str, Any]:
    """One step from nothing."""
    phases = Phases(args.begun)
    phases.end("imports")
    transformer, options = empty_transformer(args.blocks, args.tiny, "2.0"), options_of(args)
    torch.zeros(1, device=DEVICE)
    phases.end("device")
    with TensorReader(device=str(DEVICE), dtype=torch.bfloat16) as reader, opened(_folder(args), reader) as cache:
        assemble(transformer, _refuse, options, device=DEVICE, cache=cache)
    phases.end("load")
    with_lora(transformer)
    phases.end("lora")
    set_policies(transformer, options, block_offload(transformer))
    phases.end("policies")
    parameters = lora_parameters(transformer)
    optimizer = make_optimizer(parameters, TrainSettings(learning_rate=1e-5))
    phases.end("optimizer")
    work, data = forward_backward(transformer, autocast=False), batch(transformer, SHAPES[args.shape], args.text)
    step = StepGraphs(work, list(parameters.values()), block_offload(transformer)) if options.graphs else work
    loss = step(data)["loss"]
    phases.end("compile_and_capture")
    optimizer.step(0)
    phases.end("update")
    return {**phases.seconds, "total_s": round(time.time() - args.begun, 2), "loss": round(float(loss), 5)}


def _refuse(names: Any) -> NoReturn:
    raise RuntimeError(f"{names[0]} is not in the cache that was just written")


def _folder(args: argparse.Namespace) -> QuantisedFolder:
    return QuantisedFolder(args.folder / "weights")


def timed(args: argparse.Namespace, compile_cache: str) -> dict[str, Any]:
    """`start` in a process of its own, from the moment that it is asked for."""
    command = [sys.executable, *sys.argv, "--folder", str(args.folder), "--begun", repr(time.time())]
    compiled = str(args.folder / "compiled")
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": compiled, "TRITON_CACHE_DIR": f"{compiled}/triton"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = {"compile_cache": compile_cache, **json.loads(done.stdout.splitlines()[-1])}
    sys.stderr.write(f"{json.dumps(found)}\n")  # at once, so that a run cut short is not lost
    return found


def main() -> int:
    """Write, start twice, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="two toy blocks; works on a CPU")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--precision", choices=("int8", "fp8"), default="fp8")
    parser.add_argument("--shape", choices=tuple(SHAPES), default="17")
    parser.add_argument("--recompute", type=float, default=0.5)
    parser.add_argument("--streamed", type=int, default=0, help="blocks that are streamed")
    parser.add_argument("--folder", type=Path, help="where 19 GB are written; default a temporary folder")
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="append the line here")
    args = parser.parse_args()
    args.text = 8 if args.tiny else 1024
    if args.tiny:
        args.blocks, args.shape = 2, "tiny"
    if args.begun is not None:
        sys.stdout.write(json.dumps(start(args)) + "\n")
        return 0
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        args.folder = Path(folder)
        written = write(args)
        sys.stderr.write(f"{json.dumps(written)}\n")
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
        rows = [timed(args, state) for state in ("cold", "warm")]
    say("start_up", {"precision": args.precision, "streamed": args.streamed, **written, "rows": rows}, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
