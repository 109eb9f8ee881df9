"""Peak memory, time and exactness of the video VAE's memory options, at the released sizes with random weights.

Run on a machine with a GPU: `python benchmarks/vae_memory.py --out vae_memory.json`. In bfloat16 two right results
differ by its rounding; `--float32` shows that chunks equal the whole. `--tiny` tries the script on a CPU. Needs torch,
diffusers and safetensors beside this repository. Prints a Markdown table, then JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Video

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.released import GENERATIONS, video_vae_section
from ltx_core.autoencoder.video import Difference, decode_pixels, decode_video, difference, encode_pixels, encode_video
from ltx_core.checkpoint.architecture import video_vae_arguments
from ltx_core.errors import ShapeError
from ltx_core.memory.video_vae import PATCH_CONV, TEMPORAL_ROLL, WHOLE, VaeMemory, VaeWork
from ltx_core.shapes import PixelShape
from ltx_core.tiny.header import Generation
from ltx_core.tiny.header import video_vae_section as miniature_section
from ltx_core.tiny.weights import draw

GIB = 2**30
FULL_SIZE, TINY_SIZE = PixelShape(121, 704, 1280), PixelShape(17, 128, 192)
BATCH = 2
"""Clips that slicing is measured with."""


@dataclass(frozen=True)
class Measured:
    """One option at one job."""

    generation: str
    job: str
    option: str
    peak_gib: float | None
    """Beyond the weights; None: out of memory, or not on a GPU."""
    predicted_gib: float
    seconds: float | None
    off: Difference | None
    """From the whole pass."""
    out_of_memory: bool = False


def options(tiny: bool) -> dict[str, VaeMemory]:
    """What is measured, by name."""
    tile, overlap = (96, 32) if tiny else (512, 64)
    return {
        "whole": WHOLE,
        "patch_conv": VaeMemory(PATCH_CONV),
        "2 latent frames": VaeMemory(2),
        "temporal_roll": VaeMemory(TEMPORAL_ROLL),
        f"tile {tile}": VaeMemory(tile=tile, overlap=overlap),
        f"temporal_roll, tile {tile}": VaeMemory(TEMPORAL_ROLL, tile=tile, overlap=overlap),
    }


def build(generation: Generation, device: torch.device, dtype: torch.dtype, tiny: bool) -> Any:
    """Random weights that keep signals at their size."""
    section = miniature_section(generation) if tiny else video_vae_section(generation)
    with device:
        vae = AutoencoderKLLTX2Video(**video_vae_arguments({"vae": section}))
    torch.manual_seed(0)
    draw(vae)
    return vae.to(dtype).requires_grad_(False).eval()


def timed(work: Callable[[], torch.Tensor], device: torch.device) -> tuple[torch.Tensor | None, float, float | None]:
    """Result (None: out of memory), seconds of the second run, and peak GiB beyond what was there before."""
    peak = None
    for attempt in ("warm up", "measure"):
        before = _ready(device)
        start = time.perf_counter()
        try:
            result = work()
        except torch.OutOfMemoryError:
            return None, 0.0, None
        if device.type == "cuda":
            torch.cuda.synchronize()
            peak = (torch.cuda.max_memory_allocated() - before) / GIB
        seconds = time.perf_counter() - start
        if attempt == "warm up":
            del result
    return result, seconds, peak


def _ready(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def measure(generation: Generation, vae: Any, shape: PixelShape, tiny: bool) -> Iterator[Measured]:
    """Encode and decode one clip with each option, then a batch with and without slicing."""
    device = vae.device
    frames = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, device=device)
    latent = torch.randn(vae.config.latent_channels, *shape.latent(), device=device)
    jobs: dict[str, tuple[Callable[[VaeMemory], torch.Tensor], bool]] = {
        "encode": (lambda memory: encode_video(vae, frames, memory=memory), False),
        "decode": (lambda memory: decode_video(vae, latent, memory=memory), True),
    }
    for job, (work, decodes) in jobs.items():
        reference: torch.Tensor | None = None
        for option, memory in options(tiny).items():
            result, seconds, peak = timed(lambda work=work, memory=memory: work(memory), device)
            reference = result if memory == WHOLE else reference
            off = None if result is None or reference is None else difference(result, reference)
            lost = result is None
            expected = VaeWork.of(vae, shape, decodes=decodes).clip_bytes(memory) / GIB
            yield Measured(generation, job, option, peak, expected, None if lost else seconds, off, lost)
    result = reference = None
    yield from measure_slicing(generation, vae, shape)


def measure_slicing(generation: Generation, vae: Any, shape: PixelShape) -> Iterator[Measured]:
    """A batch of clips of half the edges, at once and one by one."""
    device = vae.device
    small = PixelShape(shape.frames, shape.height // 2, shape.width // 2).floored()
    pixels = torch.rand(BATCH, 3, *small, device=device) * 2 - 1
    latents = torch.randn(BATCH, vae.config.latent_channels, *small.latent(), device=device)
    jobs: dict[str, tuple[Callable[[VaeMemory], torch.Tensor], bool]] = {
        "encode": (lambda memory: encode_pixels(vae, pixels, memory=memory), False),
        "decode": (lambda memory: decode_pixels(vae, latents, memory=memory), True),
    }
    for job, (work, decodes) in jobs.items():
        reference: torch.Tensor | None = None
        for name, memory in (("at once", WHOLE), ("slicing", VaeMemory(slicing=True))):
            result, seconds, peak = timed(lambda work=work, memory=memory: work(memory), device)
            reference = result if memory == WHOLE else reference
            off = None if result is None or reference is None else difference(result, reference)
            clips = 1 if memory.slicing else BATCH
            size, expected = "x".join(map(str, small)), VaeWork.of(vae, small, decodes=decodes).clip_bytes(WHOLE)
            yield Measured(
                generation, job, f"{BATCH} clips {size} {name}", peak, clips * expected / GIB,
                None if result is None else seconds, off, result is None,
            )  # fmt: skip


def table(rows: list[Measured]) -> str:
    """Markdown."""
    lines = ["| model | job | option | peak GiB | predicted | seconds | off by |", "| --- " * 7 + "|"]
    for row in rows:
        peak = "OOM" if row.out_of_memory else "" if row.peak_gib is None else f"{row.peak_gib:.2f}"
        seconds = "" if row.seconds is None else f"{row.seconds:.2f}"
        cells = (row.generation, row.job, row.option, peak, f"{row.predicted_gib:.2f}", seconds, str(row.off or ""))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU")
    parser.add_argument(
        "--float32", action="store_true", help="float32 without TF32; default: bfloat16, float32 if tiny"
    )
    parser.add_argument("--frames", type=int, help="8k+1; default 121, or 17 if tiny")
    parser.add_argument("--generation", choices=GENERATIONS, action="append", help="default: each")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON too")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not given.tiny:
        parser.error("no GPU here; --tiny works on a CPU")
    shape = TINY_SIZE if given.tiny else FULL_SIZE
    shape = shape._replace(frames=given.frames or shape.frames)
    try:
        shape.latent()
    except ShapeError as error:
        parser.error(str(error))
    dtype = torch.float32 if given.float32 or given.tiny else torch.bfloat16
    torch.backends.cudnn.allow_tf32 = False
    rows: list[Measured] = []
    for generation in given.generation or GENERATIONS:
        for row in measure(generation, build(generation, device, dtype, given.tiny), shape, given.tiny):
            sys.stderr.write(f"{row.generation} {row.job} {row.option}: {row.seconds} s\n")
            rows.append(row)
    report = {"shape": shape, "device": _name(device), "torch": torch.__version__, "dtype": str(dtype)}
    figures = json.dumps(report | {"rows": [asdict(row) for row in rows]})
    sys.stdout.write(f"{json.dumps(report)}\n\n{table(rows)}\n\n{figures}\n")
    if given.out:
        given.out.write_text(figures)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()
