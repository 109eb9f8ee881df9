"""A LoRA step of the full-size transformer with random weights under the engine's policies: seconds and peak memory.

    python benchmarks/engine.py --blocks 8 bf16+graphs fp8+graphs+budget=0.4

A variant is a precision (`bf16`, `int8`, `fp8`, `int8-weights`, `fp8-weights`) or `peft` (plain diffusers + peft), then
options: `eager`, `graphs`,
`recompute=F`, `budget=F`, `offload=GIB`, `offloaded=N`, `slots=N`, `bf16grad`, `profile`, `shape=17|121`,
`deterministic` (in a process that has the environment of `ltx_core.engine.compiling`).
Needs torch, diffusers and peft; no Prefect, no MLflow, no PyAV.
"""

import argparse
import gc
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from peft.tuners.lora.layer import Linear

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import released
from ltx_core.adapters.lora import add_lora, lora_layers, lora_parameters, target_modules
from ltx_core.checkpoint.architecture import transformer_arguments
from ltx_core.denoiser.blocks import TokenRoute
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream, audio_positions, video_positions
from ltx_core.engine.assemble import assemble, block_offload, set_policies
from ltx_core.engine.compiling import deterministic_kernels
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions
from ltx_core.shapes import LatentShape

SHAPES = {
    "17": (480, 832, 17, 2),
    "17 of one clip": (480, 832, 17, 1),
    "121": (512, 768, 121, 1),
    "49": (704, 1280, 49, 1),
    "tiny": (64, 96, 9, 2),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
GIB = 2**30
RANK = 32
STEPS, WARM_UPS = 5, 3
TINY = {
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "cross_attention_dim": 64,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 16,
    "audio_cross_attention_dim": 32,
}


def random_tensors(module: torch.nn.Module, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Norm weights of one, all else normal with deviation 0.02, a function of the name."""
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items() if name in set(names)}
    made = {}
    for name, shape in shapes.items():
        tensor = torch.empty(shape, device=DEVICE, dtype=torch.bfloat16)
        generator = torch.Generator(DEVICE).manual_seed(hash_of(name))
        made[name] = tensor.fill_(1.0) if "norm" in name else tensor.normal_(0, 0.02, generator=generator)
    return made


def hash_of(name: str) -> int:
    """The same in every process."""
    return sum(ord(c) * 31 ** (i % 11) for i, c in enumerate(name)) % 2**31


def empty_transformer(blocks: int, tiny: bool, generation: Any) -> LTX2VideoTransformer3DModel:
    """On the meta device."""
    arguments = transformer_arguments(released.config(generation)) | {"num_layers": blocks, "perturbed_attn": True}
    with torch.device("meta"):
        return LTX2VideoTransformer3DModel(**{**arguments, **(TINY if tiny else {})})


def precision_of(name: str) -> dict[str, Any]:
    """Options of the engine: `int8` and `fp8` multiply in 8 bits, `int8-weights` and `fp8-weights` dequantise."""
    kind, _, weights = name.partition("-")
    return {"precision": kind, "products": "none" if weights else "all"}


def with_lora(transformer: Any, *, plain: bool = False) -> Any:
    """Rank 32 on all attention projections, B not zero so that every gradient counts; `plain` layers are peft's own."""
    add_lora(transformer, target_modules(transformer, "audio+video"), rank=RANK, alpha=RANK, seed=0)
    for layer in lora_layers(transformer).values() if plain else ():
        layer.__class__ = Linear
    for name, parameter in lora_parameters(transformer).items():
        if name.endswith("lora_B.weight"):
            parameter.data.normal_(0, 0.01, generator=torch.Generator(DEVICE).manual_seed(hash_of(name)))
    return transformer


def batch(transformer: Any, shape: Sequence[int], text: int) -> dict[str, torch.Tensor]:
    """Random tokens, contexts, positions and noise levels, by name."""
    height, width, frames, size = shape
    latent = LatentShape((frames - 1) // 8 + 1, height // 32, width // 32)
    config, audio = transformer.config, max(1, frames)
    g = torch.Generator(DEVICE).manual_seed(1)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, device=DEVICE, dtype=torch.bfloat16, generator=g)

    prompts = config.use_prompt_embeddings
    widths = (
        (config.caption_channels,) * 2 if prompts else (config.cross_attention_dim, config.audio_cross_attention_dim)
    )
    return {
        "video": normal(size, latent.tokens, config.in_channels),
        "audio": normal(size, audio, config.audio_in_channels),
        "video_context": normal(size, text, widths[0]),
        "audio_context": normal(size, text, widths[1]),
        "sigma": torch.rand(size, device=DEVICE, generator=g),
        "video_positions": video_positions(latent, 25.0, size, DEVICE),
        "audio_positions": audio_positions(audio, size, DEVICE),
    }


def forward_backward(transformer: Any, autocast: bool, route: range = range(0)) -> Any:
    """Loss and gradients of a batch, which may lack `audio`. The blocks of `route` compute the batch's `kept` video
    tokens alone."""

    def work(b: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        video = Stream(b["video"], b["sigma"], b["sigma"], b["video_context"], b["video_positions"])
        audio = None
        if "audio" in b:
            audio = Stream(b["audio"], b["sigma"], b["sigma"], b["audio_context"], b["audio_positions"])
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
            routes = [TokenRoute(route[0], route[-1], b["kept"])] if route else []
            found = denoise(transformer, video, audio, routes=routes)
        assert found[0] is not None
        loss = (found[0].float() - b["video"].float()).square().mean()
        if found[1] is not None:
            loss = loss + (found[1].float() - b["audio"].float()).square().mean()
        loss.backward()
        return {"loss": loss.detach()}

    return work


class Variant:
    """A name and what it means."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.base, *words = text.split("+")
        self.words = {w.partition("=")[0]: w.partition("=")[2] for w in words}

    def options(self, blocks: int) -> EngineOptions:
        """For the engine."""
        streamed = self.words.get("streamed")
        return EngineOptions(
            **precision_of("native" if self.base in ("bf16", "peft") else self.base),
            low_backward="bf16grad" not in self.words,
            offloaded_blocks=0 if streamed is None else blocks if streamed == "all" else int(streamed),
            num_slots=int(self.words.get("slots", 2)),
            activation_checkpointing=float(self.words.get("recompute", 0)),
            activation_budget=float(self.words.get("budget", 1)),
            activation_offload=round(float(self.words.get("offload", 0)) * GIB),
            fused=self.base != "peft",
            compiled="eager" not in self.words,
            graphs="graphs" in self.words,
        )


def measure(text: str, args: argparse.Namespace) -> None:
    """Print one line of JSON for each shape."""
    variant = Variant(text)
    options = variant.options(args.blocks)
    started = time.monotonic()
    transformer = empty_transformer(args.blocks, args.tiny, args.generation)
    assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE)
    with_lora(transformer, plain=variant.base == "peft")
    set_policies(transformer, options, block_offload(transformer))
    synchronize()
    built = time.monotonic() - started
    parameters = list(lora_parameters(transformer).values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=DEVICE.type == "cuda")
    work = forward_backward(transformer, variant.base == "peft")
    run = StepGraphs(work, parameters, block_offload(transformer)) if options.graphs else work
    for shape in variant.words.get("shape", args.shapes).split(","):
        try:
            with deterministic_kernels() if "deterministic" in variant.words else nullcontext():
                row = steps(run, batch(transformer, SHAPES[shape], args.text), parameters, optimizer)
        except torch.OutOfMemoryError as error:
            row = {"error": str(error)[:120]}
        print(json.dumps({"variant": text, "shape": shape, "built_s": round(built, 1), **row}), flush=True)  # noqa: T201
        if "profile" in variant.words:
            profile(partial(run, batch(transformer, SHAPES[shape], args.text)))
    if args.compare:
        compare(text, work, batch(transformer, SHAPES[args.shapes.split(",")[0]], args.text), parameters)
    del transformer, run, work, optimizer, parameters
    torch._dynamo.reset()
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()


def steps(run: Any, data: Mapping[str, torch.Tensor], parameters: Sequence[Any], optimizer: Any) -> dict[str, Any]:
    """Median seconds of whole steps, and the peaks of the allocator."""

    def step() -> torch.Tensor:
        loss = run(data)["loss"]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    if DEVICE.type == "cpu":
        return {"loss": float(step())}
    torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    for _ in range(WARM_UPS):
        step()
    synchronize()
    warm = time.monotonic() - started
    seconds = []
    for _ in range(STEPS):
        begun = time.monotonic()
        loss = step()
        synchronize()
        seconds.append(time.monotonic() - begun)
    return {
        "seconds": round(sorted(seconds)[STEPS // 2], 4),
        "peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
        "resident_gib": round(torch.cuda.memory_allocated() / GIB, 2),
        "warm_s": round(warm, 1),
        "loss": round(float(loss), 5),
    }


REFERENCE: dict[str, torch.Tensor] = {}


def compare(text: str, work: Any, data: Mapping[str, torch.Tensor], parameters: Sequence[Any]) -> None:
    """Gradient of a variant against that of the first one with the same weights, batch and adapter."""
    for parameter in parameters:
        parameter.grad = None
    loss = work(data)["loss"]
    flat = torch.cat([p.grad.flatten() for p in parameters])
    if not REFERENCE:
        REFERENCE.update(flat=flat.cpu(), loss=loss.cpu())
    reference = REFERENCE["flat"].to(flat.device)
    cosine = torch.nn.functional.cosine_similarity(flat, reference, dim=0)
    relative = (flat - reference).norm() / reference.norm()
    row = {"cosine": round(float(cosine), 5), "relative": round(float(relative), 4), "loss": float(loss)}
    print(json.dumps({"variant": text, "against_first": row}), flush=True)  # noqa: T201


def profile(step: Any) -> None:
    """The kernels that take most time."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        step()
        synchronize()
    kernels: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for event in profiler.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            kernels[event.name][0] += 1
            kernels[event.name][1] += event.device_time / 1e3
    total, count = sum(t for _, t in kernels.values()), sum(c for c, _ in kernels.values())
    print(f"  {count} kernels, {total:.1f} ms")  # noqa: T201
    for name, (number, spent) in sorted(kernels.items(), key=lambda item: -item[1][1])[:40]:
        print(f"  {spent:8.2f} ms {number:6d}  {name[:100]}", flush=True)  # noqa: T201


def synchronize() -> None:
    """Wait for the GPU."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def main() -> int:
    """Measure the variants named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--shapes", default="17,121")
    parser.add_argument("--text", type=int, default=1024)
    parser.add_argument("--generation", default="2.0")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--compare", action="store_true")
    args = parser.parse_args()
    for text in args.variants:
        try:
            measure(text, args)
        except (RuntimeError, AssertionError) as error:
            print(json.dumps({"variant": text, "failed": repr(error)[:1500]}), flush=True)  # noqa: T201
            torch._dynamo.reset()
            gc.collect()
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
