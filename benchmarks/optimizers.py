"""One step of each optimizer on a LoRA of rank 32 on all attention of the full-size transformer: seconds and memory.

    PYTHONPATH=. python benchmarks/optimizers.py          # on a GPU
    PYTHONPATH=. python benchmarks/optimizers.py --tiny   # rank 1 on two blocks, on the CPU

Clipping and norms are part of a step, as in training. Prints one JSON line. Needs torch, diffusers and peft.
"""

import argparse
import gc
import sys
import time
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel

from benchmarks import released
from benchmarks.lines import say
from ltx_core.adapters.lora import target_modules
from ltx_core.checkpoint.architecture import transformer_arguments
from ltx_core.training.config import TrainSettings
from ltx_core.training.optimizer import MAKERS, make_optimizer
from ltx_core.training.step import grad_norms, update

GIB = 2**30
WARM_UPS, STEPS = 2, 5


def main() -> int:
    """Measure every optimizer there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    tiny = parser.parse_args().tiny
    device = "cpu" if tiny else "cuda"
    shapes = lora_shapes(num_layers=2 if tiny else 48, rank=1 if tiny else 32)
    rows = [measure(name, shapes, device) for name in MAKERS]
    figures: dict[str, Any] = {"gpu": "cpu"} if tiny else {}
    figures |= {
        "matrices": len(shapes),
        "million_weights": sum(shape.numel() for shape in shapes.values()) / 1e6,
        "rows": rows,
    }
    say("optimizers", figures)
    return 0


def lora_shapes(num_layers: int, rank: int) -> dict[str, torch.Size]:
    """Shapes of the adapter's matrices by name."""
    arguments = transformer_arguments(released.config("2.0")) | {"num_layers": num_layers}
    with torch.device("meta"):
        transformer = LTX2VideoTransformer3DModel(**arguments)
    shapes = {}
    for module in target_modules(transformer, "audio+video"):
        wide, deep = transformer.get_submodule(module).weight.shape
        shapes[f"{module}.lora_A.weight"] = torch.Size([rank, deep])
        shapes[f"{module}.lora_B.weight"] = torch.Size([wide, rank])
    return shapes


def measure(name: Any, shapes: dict[str, torch.Size], device: str) -> dict[str, Any]:
    """Median seconds of a step; what weights, gradients and moments hold, and the peak above it, GiB."""
    on_gpu = device == "cuda"
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
    parameters = {n: torch.nn.Parameter(torch.randn(shape, device=device) * 0.01) for n, shape in shapes.items()}
    optimizer = make_optimizer(parameters, TrainSettings(optimizer=name))
    seconds = []
    for _ in range(WARM_UPS + STEPS):
        for parameter in parameters.values():
            parameter.grad = torch.randn_like(parameter)
        held = held_gib(on_gpu)
        begun = time.monotonic()
        update(optimizer, parameters, grad_norms(parameters), step=0, max_grad_norm=1.0, clip_ids=[])
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - begun)
    peak = torch.cuda.max_memory_allocated() / GIB if on_gpu else 0.0
    return {
        "optimizer": name,
        "step_seconds": sorted(seconds[WARM_UPS:])[STEPS // 2],
        "held_gib": held,
        "peak_above_gib": peak - held if on_gpu else 0.0,
    }


def held_gib(on_gpu: bool) -> float:
    """Wait for the GPU; GiB that it holds, from which the next peak is taken."""
    if not on_gpu:
        return 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / GIB


if __name__ == "__main__":
    sys.exit(main())
