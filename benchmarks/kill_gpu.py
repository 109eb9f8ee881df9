"""Kill -9 in the middle of training full-size blocks, run again: is the LoRA the same bytes as undisturbed?

    python benchmarks/kill_gpu.py --out results.jsonl     # four blocks, with CUDA graphs and without; two minutes each
    python benchmarks/kill_gpu.py --tiny                  # tries the script on a CPU

A process trains and kills itself after a step drawn by chance from those after the first checkpoint, before that step's
own. A second process goes on from what is there, then trains the same undisturbed. Deterministic kernels; compiled code
is kept between the two, so that both run the same. Needs no Prefect, no MLflow, no PyAV.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import released
from benchmarks.engine import DEVICE, random_tensors
from benchmarks.lines import say
from benchmarks.multi_gpu import TINY, Bench, RandomSource, connectors
from ltx_core.checkpoint.architecture import transformer_arguments
from ltx_core.engine.assemble import assemble
from ltx_core.engine.compiling import ENVIRONMENT
from ltx_core.io.digest import file_digest
from ltx_core.progress import Silent
from ltx_core.training.checkpoint_writer import THREAD
from ltx_core.training.config import TrainSettings
from ltx_core.training.run import TrainJob, train_lora

STEPS, INTERVAL = 6, 2


class KilledAfter(Silent):
    """The process dies when a step has been taken, before its checkpoint, and with that of an earlier step on disk."""

    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, done: int, total: int, unit: str) -> None:
        """Die, if it is this step."""
        if done == self.step:
            for thread in threading.enumerate():
                if thread.name.startswith(THREAD):
                    thread.join()
            os.kill(os.getpid(), signal.SIGKILL)


def job(args: argparse.Namespace, out: Path) -> TrainJob:
    """A short run as the product does it, on random weights and clips."""
    settings = TrainSettings(
        steps=STEPS,
        batch_size=2,
        learning_rate=1e-3,
        checkpoint_interval=INTERVAL,
        optimizer=args.optimizer,
        base_precision=args.precision,
        cuda_graphs=args.graphs,
        activation_checkpointing=0.25,
        activation_budget=0.35 if DEVICE.type == "cuda" else 1.0,
        activation_offload=0.25,
        offloaded_blocks=1,
        deterministic=True,
    )
    bench = Bench(args.tiny, STEPS, DEVICE.type)

    def load() -> Any:
        arguments = transformer_arguments(released.config("2.0")) | {"perturbed_attn": True}
        arguments |= (TINY if args.tiny else {}) | {"num_layers": args.blocks}
        with torch.device("meta"):
            transformer = LTX2VideoTransformer3DModel(**arguments)
        options = made.engine_options(args.blocks)
        return assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE)

    made = TrainJob(
        settings=settings,
        source=RandomSource(bench),
        load_transformer=load,
        load_connectors=lambda: connectors(bench),
        out_dir=out,
        device=DEVICE.type,
        provenance={},
        context_length=128 if args.tiny else None,
    )
    return made


def child(args: argparse.Namespace) -> None:
    """One process: train until killed, or go on and then train undisturbed."""
    if args.kill_after:
        train_lora(job(args, args.folder / "killed"), KilledAfter(args.kill_after))
        raise RuntimeError(f"step {args.kill_after} never came")
    resumed = train_lora(job(args, args.folder / "killed"), Silent())
    whole = train_lora(job(args, args.folder / "whole"), Silent())
    found = {
        "resumed_from_step": resumed.resumed_from_step,
        "same_bytes": file_digest(resumed.lora_path) == file_digest(whole.lora_path),
        "lora_sha256": file_digest(whole.lora_path),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def case(args: argparse.Namespace, graphs: str, step: int, folder: Path) -> dict[str, Any]:
    """Kill after a step, run again, compare.

    Raises:
        RuntimeError: a process ended otherwise than it should.
    """
    begun = time.monotonic()
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled"), "TRITON_CACHE_DIR": str(folder / "compiled/triton")}
    command = [sys.executable, *sys.argv, "--graphs", graphs, "--folder", str(folder / graphs)]
    run = partial(subprocess.run, env=os.environ | ENVIRONMENT | caches, stdout=subprocess.PIPE, text=True)
    killed = run([*command, "--kill-after", str(step)])
    again = run([*command, "--kill-after", "0"])
    if killed.returncode != -signal.SIGKILL or again.returncode:
        raise RuntimeError(f"the killed process ended with {killed.returncode}, the second with {again.returncode}")
    found = json.loads(again.stdout.splitlines()[-1])
    return {"cuda_graphs": graphs, "killed_after_step": step, **found, "seconds": round(time.monotonic() - begun, 1)}


def main() -> int:
    """Each way once; 0 if all were the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU, without graphs")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--precision", choices=("native", "int8", "fp8"), default="native")
    parser.add_argument("--optimizer", choices=("adamw", "adamw_bf16", "adamw8bit"), default="adamw")
    parser.add_argument("--ways", nargs="+", choices=("on", "off"), default=("on", "off"), help="CUDA graphs; on a GPU")
    parser.add_argument("--seed", type=int, default=None, help="of the steps; default by chance")
    parser.add_argument("--out", type=Path, help="append the line here")
    for name, kind in (("--graphs", str), ("--folder", Path), ("--kill-after", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.kill_after is not None:
        child(args)
        return 0
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        ways = ("off",) if DEVICE.type == "cpu" else args.ways
        rows = [case(args, graphs, chance.randint(INTERVAL + 1, STEPS), Path(folder)) for graphs in ways]
    what = {"blocks": args.blocks, "precision": args.precision, "optimizer": args.optimizer}
    say("kill", {**what, "rows": rows}, args.out)
    return 0 if all(row["same_bytes"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
