"""Training on two GPUs beside training on one: seconds a step, losses, learning rates; and the base cut among both.

    PYTHONPATH=. torchrun --nproc-per-node 2 benchmarks/multi_gpu.py          # full size, random weights
    PYTHONPATH=. torchrun --nproc-per-node 2 benchmarks/multi_gpu.py --tiny   # on the CPU, over gloo

A step has as many batches of two 480x832x17 clips as there are GPUs. `one` computes all of them on the first GPU, `ddp`
one on each, `eager` as `ddp` without compiling and graphs, `sharded` as `eager` with the frozen blocks cut among the
GPUs. Prints one JSON line, and appends it to
benchmarks/results. Needs torch, diffusers, peft and pyarrow; no Prefect, no MLflow, no PyAV.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d
from torch import Tensor

from benchmarks import released
from benchmarks.lines import say
from ltx_core.checkpoint.architecture import connector_arguments, transformer_arguments
from ltx_core.distributed.ranks import ALONE, Ranks, joined
from ltx_core.progress import Silent
from ltx_core.shapes import PixelShape, audio_latent_frames
from ltx_core.training.config import TrainSettings
from ltx_core.training.loop import Run, own_batches
from ltx_core.training.metrics import History
from ltx_core.training.prefetch import prefetched
from ltx_core.training.run import TrainJob, prepare
from ltx_core.training.samples import SampleInfo
from ltx_core.training.step import OptimizerStep, step_batches, take_step

GIB = 2**30
FRAME_RATE = 25.0
NUM_CLIPS = 16
WARM_UPS = 3
TINY: dict[str, Any] = {
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "cross_attention_dim": 64,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 16,
    "audio_cross_attention_dim": 32,
    "caption_channels": 64,
}
TINY_CONNECTOR: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 32}
SEQUENCES = ("rates", "losses")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Bench:
    """What is measured, and on what."""

    tiny: bool
    steps: int
    device: str
    eager: bool = False

    @property
    def clip(self) -> PixelShape:
        return PixelShape(9, 64, 96) if self.tiny else PixelShape(17, 480, 832)

    @property
    def caption(self) -> tuple[int, int]:
        """Tokens, and values of each."""
        return (8, 64) if self.tiny else (200, 3840)


class RandomSource:
    """Clips and captions of random numbers, a function of their name."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        names = [f"clip{number:02d}" for number in range(NUM_CLIPS)]
        self.samples = [SampleInfo(name, "one", "train", 1, FRAME_RATE, True, name) for name in names]

    def load(self, clip_id: str) -> dict[str, Tensor]:
        """`video` [128, F, H, W] and `audio` [A, 128], bf16."""
        generator = torch.Generator().manual_seed(named(clip_id))
        size = self.bench.clip
        video = torch.randn(128, *size.latent(), generator=generator)
        audio = torch.randn(audio_latent_frames(size.frames / FRAME_RATE), 128, generator=generator)
        return {"video": video.bfloat16(), "audio": audio.bfloat16()}

    def text(self, caption: str) -> dict[str, Tensor]:
        """Features of 2.0: [S, 3840], bf16."""
        generator = torch.Generator().manual_seed(named(caption))
        return {"features": torch.randn(self.bench.caption, generator=generator).bfloat16()}


def main() -> int:
    """Measure every way; the first rank prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="two small blocks, on the CPU")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--eager-steps", type=int, default=5)
    args = parser.parse_args()
    bench = Bench(args.tiny, args.steps, "cpu" if args.tiny else "cuda")
    if args.tiny:
        torch.set_num_threads(1)
    with joined(bench.device) as ranks, tempfile.TemporaryDirectory() as folder:
        figures = compare(bench, ranks, Path(folder), args.eager_steps)
        if ranks.is_first:
            results = None if args.tiny else RESULTS / f"{time.strftime('%Y-%m-%d')}.jsonl"
            where = {"gpu": "cpu"} if args.tiny else {}
            say("multi_gpu", {**where, "gpus": ranks.size, **figures}, results)
    return 0


def compare(bench: Bench, ranks: Ranks, folder: Path, eager_steps: int) -> dict[str, Any]:
    """Figures of all ways, and how they differ."""
    ways: list[tuple[str, Bench, Ranks, str]] = [
        ("one", bench, ALONE, "none"),
        ("ddp", bench, ranks, "none"),
        ("eager", replace(bench, steps=eager_steps, eager=True), ranks, "none"),
        ("sharded", replace(bench, steps=eager_steps, eager=True), ranks, "full"),
    ]
    found: dict[str, dict[str, Any]] = {}
    for name, each, together, sharding in ways:
        if together.size > 1 or ranks.is_first:
            found[name] = measure(each, together, ranks.size, folder / name, sharding)
            report(ranks, name, found[name])
        ranks.wait()
    if not ranks.is_first:
        return {}
    rows = [
        {"way": name, **{key: value for key, value in way.items() if key not in SEQUENCES}}
        for name, way in found.items()
    ]
    return {
        "shape": [bench.clip.frames, bench.clip.height, bench.clip.width],
        "batch_per_gpu": 2,
        "clips_per_step": 2 * ranks.size,
        "ddp_scaling": found["one"]["step_seconds"] / found["ddp"]["step_seconds"],
        "ddp_learning_rates_equal": found["one"]["rates"] == found["ddp"]["rates"],
        "ddp_loss_largest_difference": difference(found["one"]["losses"], found["ddp"]["losses"]),
        "eager_loss_largest_difference": difference(found["ddp"]["losses"], found["eager"]["losses"]),
        "sharded_loss_largest_difference": difference(found["eager"]["losses"], found["sharded"]["losses"]),
        "rows": rows,
    }


def measure(bench: Bench, ranks: Ranks, accumulation: int, folder: Path, sharding: str) -> dict[str, Any]:
    """Seconds a step, peak of this rank, losses and learning rates of one way."""
    empty_device(bench)
    began = time.monotonic()
    run = prepared(bench, ranks, accumulation, folder, sharding)
    loading = time.monotonic() - began
    run.objective.contexts([sample.caption for sample in run.plan.samples], "cpu")  # computed once, not timed
    seconds, losses, rates = [], [], []
    with prefetched(run.objective.train_batch, own_batches(run, 0), bench.device) as feed:
        for step in range(bench.steps):
            begun = time.monotonic()
            occurrences = step_batches(run.plan, step, accumulation)
            record, _ = take_step(
                run.objective,
                occurrences,
                run.optimizer,
                run.parameters,
                OptimizerStep(step),
                ranks=run.ranks,
                load=feed,
                backward=run.backward,
            )
            synchronize(bench)
            seconds.append(time.monotonic() - begun)
            losses.append(statistics.fmean(loss.loss for loss in record.losses))
            rates.append(record.learning_rate)
    run.ranks.check_equal("LoRA", run.parameters)
    return {
        "step_seconds": statistics.median(seconds[WARM_UPS:]),
        "data_wait_seconds": feed.wait_seconds / bench.steps,
        "peak_gib": 0.0 if bench.tiny else torch.cuda.max_memory_allocated() / GIB,
        "loading_seconds": loading,
        "losses": losses,
        "rates": rates,
    }


def prepared(bench: Bench, ranks: Ranks, accumulation: int, folder: Path, sharding: Any) -> Run:
    """Weights, LoRA of rank 32 and optimizer, as a run of the product has them."""
    settings = TrainSettings(
        steps=bench.steps,
        batch_size=2,
        gradient_accumulation_steps=accumulation,
        learning_rate=1e-4,
        scheduler="cosine",
        warmup_steps=2,
        activation_checkpointing=1.0,
        activation_budget=1.0,
        activation_offload=0,
        offloaded_blocks=0,
        compile_blocks="off" if bench.eager else "auto",
        cuda_graphs="off" if bench.eager else "auto",
    )
    base = "cpu" if sharding == "full" else bench.device
    job = TrainJob(
        settings=settings.model_copy(update={"steps": 8}),  # one schedule for runs of any length
        source=RandomSource(bench),
        load_transformer=lambda: transformer(bench, base),
        load_connectors=lambda: connectors(bench),
        out_dir=folder,
        device=bench.device,
        provenance={},
        context_length=128 if bench.tiny else None,
        ranks=ranks,
        sharding=sharding,
    )
    return prepare(job, folder, "digest", History(), Silent())


def transformer(bench: Bench, device: str) -> Any:
    """The frozen base with random bf16 weights, equal on every rank, on `device`."""
    arguments = transformer_arguments(released.config("2.0")) | {"perturbed_attn": True}
    with torch.device("meta"):
        module = LTX2VideoTransformer3DModel(**{**arguments, **(TINY if bench.tiny else {})})
    return filled(module, bench.device, device)


def connectors(bench: Bench) -> torch.nn.ModuleDict:
    """Random text connectors, on the device that trains."""
    own, small = connector_arguments(released.config("2.0")), TINY_CONNECTOR if bench.tiny else {}
    with torch.device("meta"):
        module = torch.nn.ModuleDict(
            {name: LTX2ConnectorTransformer1d(**{**values, **small}) for name, values in own.items()}
        )
    return filled(module, bench.device, bench.device)


def filled(module: Any, made_on: str, device: str) -> Any:
    """Norm weights of one, all else normal with deviation 0.02; made on one device, kept on another."""
    for owner_name, owner in module.named_modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            generator = torch.Generator(made_on).manual_seed(named(f"{owner_name}.{name}"))
            values = torch.empty(parameter.shape, device=made_on, dtype=torch.bfloat16)
            values = values.fill_(1.0) if "norm" in owner_name else values.normal_(0, 0.02, generator=generator)
            setattr(owner, name, torch.nn.Parameter(values.to(device), requires_grad=False))
    left = [name for name, tensor in states(module) if tensor.is_meta]
    if left:
        raise ValueError(f"{left} were not filled")
    return module.eval()


def states(module: Any) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def named(name: str) -> int:
    """A seed that is the same in every process."""
    return zlib.crc32(name.encode())


def difference(left: list[float], right: list[float]) -> float:
    """Largest relative difference of two loss sequences, over the steps that both have."""
    both = min(len(left), len(right))
    return max(abs(a - b) / abs(a) for a, b in zip(left[:both], right[:both], strict=True))


def report(ranks: Ranks, name: str, figures: dict[str, Any]) -> None:
    """Each way is told when it is measured, so that a run cut short is not lost."""
    if ranks.is_first:
        sys.stderr.write(f"{name}: {json.dumps(figures)}\n")


def empty_device(bench: Bench) -> None:
    """Let go of what the way before used."""
    gc.collect()
    if not bench.tiny:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def synchronize(bench: Bench) -> None:
    """Wait for the GPU."""
    if not bench.tiny:
        torch.cuda.synchronize()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # as the stage's processes do: gloo's threads have been seen to abort the interpreter's teardown
