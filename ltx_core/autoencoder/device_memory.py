"""The video VAE's memory options for the device that it is on: what is asked for, or else the fastest that fits."""

import math
from typing import TYPE_CHECKING, Any

from ltx_core.autoencoder.memory import VaeMemory, VaeOptions
from ltx_core.autoencoder.memory_plan import (
    GIB,
    HEADROOM,
    MemoryPlan,
    Predict,
    choose_memory,
    predict_decode_bytes,
    predict_encode_bytes,
)
from ltx_core.engine.host import available_bytes
from ltx_core.shapes import PixelShape

if TYPE_CHECKING:
    import torch


def plan_encoding(
    vae: Any, shape: PixelShape, options: VaeOptions, *, batch: int = 1, free: int | None = None
) -> MemoryPlan:
    """How to encode `batch` clips of this shape at once on the VAE's device, or on one with `free` bytes left.

    Raises:
        OutOfMemory: nothing that is exact fits, and nothing else was asked for.
    """
    return _plan(vae, shape, options, batch, predict_encode_bytes, free)


def plan_decoding(
    vae: Any, shape: PixelShape, options: VaeOptions, *, batch: int = 1, free: int | None = None
) -> MemoryPlan:
    """How to decode to `batch` clips of this shape at once on the VAE's device, or on one with `free` bytes left.

    Raises:
        OutOfMemory: nothing that is exact fits, and nothing else was asked for.
    """
    return _plan(vae, shape, options, batch, predict_decode_bytes, free)


def free_bytes(device: "torch.device") -> int:
    """What a device can still give: on a GPU free memory and PyTorch's unused reserve, else the host's available."""
    if device.type == "cuda":
        import torch  # not above: `plan` works without it, and without a device

        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return available_bytes()


def describe(plan: MemoryPlan, shape: PixelShape, free: int | None = None) -> str:
    """One line for the log: what was chosen, and why."""
    memory = plan.memory
    parts = [
        f"{memory.chunk_frames} latent frames at once" if memory.chunk_frames else "",
        f"tiles of {memory.tile} pixels over {memory.overlap}" if memory.tile else "",
        "one clip of a batch at a time" if memory.slicing else "",
    ]
    how = ", ".join(part for part in parts if part) or "whole"
    limit = "as asked for" if free is None else f"{free / GIB:.1f} GiB are free"
    return f"video VAE, {'x'.join(map(str, shape))}: {how}; takes {plan.peak_bytes / GIB:.2f} GiB, {limit}"


def _plan(
    vae: Any, shape: PixelShape, options: VaeOptions, batch: int, predict: Predict, free: int | None
) -> MemoryPlan:
    def of_batch(vae: Any, shape: PixelShape, memory: VaeMemory) -> int:
        return predict(vae, shape, memory) * (1 if memory.slicing else batch)

    candidates = options.candidates(batch)
    if len(candidates) == 1:  # asked for: the prediction is no reason to refuse it
        return MemoryPlan(candidates[0], math.ceil(of_batch(vae, shape, candidates[0]) * HEADROOM))
    return choose_memory(vae, shape, free_bytes(vae.device) if free is None else free, of_batch, candidates)
