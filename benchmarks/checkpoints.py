"""Seconds that training stands still for a checkpoint: written between two steps, and written beside them.

    python benchmarks/checkpoints.py --out results.jsonl   # on a GPU rank 32, 428 MB of LoRA; else rank 4
    python benchmarks/checkpoints.py --tiny                # rank 1 on two blocks, on the CPU

A LoRA on all attention of the full-size transformer, with AdamW's moments. Files go to `--folder`, whose disk counts.
The GPU has nothing else to do, so a standstill is all that it would wait. Needs no Prefect, no MLflow, no PyAV.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor

from benchmarks.lines import say
from benchmarks.optimizers import lora_shapes
from ltx_core.memory.training import copied_bytes
from ltx_core.training.checkpoint_writer import CheckpointWriter
from ltx_core.training.config import TrainSettings
from ltx_core.training.metrics import History
from ltx_core.training.optimizer import make_optimizer
from ltx_core.training.order import Position
from ltx_core.training.state import TrainState, save_state

REPEATS = 4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> int:
    """Measure both in turns, after one of each that counts by itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--rank", type=int, default=32 if DEVICE == "cuda" else 4)
    parser.add_argument("--folder", type=Path, help="default: the system's folder for temporary files")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    shapes = lora_shapes(num_layers=2 if args.tiny else 48, rank=1 if args.tiny else args.rank)
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        say("checkpoints", measure(shapes, folder), args.out)
    finally:
        shutil.rmtree(folder)
    return 0


def measure(shapes: Mapping[str, torch.Size], folder: Path) -> dict[str, Any]:
    """Seconds, and the bytes of a checkpoint."""
    settings = TrainSettings(keep_checkpoints=1)
    parameters = {name: torch.nn.Parameter(torch.randn(shape, device=DEVICE)) for name, shape in shapes.items()}
    optimizer = make_optimizer(parameters, settings)
    for parameter in parameters.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step(0)
    num_trained = sum(parameter.numel() for parameter in parameters.values())

    def state(step: int) -> TrainState:
        return TrainState(step, Position(0, step), "benchmark", History(), parameters, optimizer.state())

    def exported() -> dict[str, Tensor]:
        return {name: p.detach().to("cpu", torch.bfloat16, copy=True) for name, p in parameters.items()}

    between, beside, whole = [], [], []
    with CheckpointWriter(folder, settings, pinned=DEVICE == "cuda") as writer:
        reserving = seconds(lambda: writer.reserve(copied_bytes(num_trained, settings.optimizer, averaged=False)))
        for step in range(1, REPEATS + 2):
            between.append(seconds(lambda step=step: save_state(folder, state(2 * step), exported(), {})))  # type: ignore[misc]  # bound now
            begun = time.monotonic()
            beside.append(seconds(lambda step=step: writer.write(state(2 * step + 1), exported(), {}, lambda _: None)))  # type: ignore[misc]  # as above
            writer.wait()
            whole.append(time.monotonic() - begun)
    (written,) = folder.glob("step-*")
    return {
        "million_weights": num_trained / 1e6,
        "checkpoint_mb": sum(file.stat().st_size for file in written.iterdir()) / 1e6,
        "lora_mb": (written / "lora.safetensors").stat().st_size / 1e6,
        "reserve_s": reserving,
        "first_standstill_s": beside[0],
        "standstill_written_between_steps_s": statistics.median(between[1:]),
        "standstill_written_beside_steps_s": statistics.median(beside[1:]),
        "times_less": statistics.median(between[1:]) / statistics.median(beside[1:]),
        "until_on_disk_s": statistics.median(whole[1:]),
    }


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, with what the GPU has to do before and after it."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
