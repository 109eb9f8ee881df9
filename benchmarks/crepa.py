"""What CREPA costs: a LoRA step of the full-size LTX-2.0 transformer with and without it, and the frames' features.

    python benchmarks/crepa.py --out results.jsonl       # about five minutes on one H200
    python benchmarks/crepa.py --tiny                    # tries the script on a CPU

Steps: fp8 by default, all weights resident, only what is cheap computed again, compiled blocks, a CUDA graph; hidden
states after block 8 beside features 1536 wide. Features: DINOv2 giant with random weights in bf16 at 518 pixels, frames
to the latent grid in float16, from frames on the host to features on the host; decoding video is not in it.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import Dinov2Config, Dinov2Model

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.engine import (
    DEVICE,
    GIB,
    SHAPES,
    STEPS,
    WARM_UPS,
    batch,
    empty_transformer,
    forward_backward,
    random_tensors,
    steps,
    synchronize,
    with_lora,
)
from benchmarks.engine_table import collect
from benchmarks.lines import say
from ltx_core.adapters.lora import lora_parameters
from ltx_core.denoiser.forward import HiddenStateHook, denoise
from ltx_core.denoiser.tokens import Stream
from ltx_core.engine.assemble import assemble, set_policies
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions
from ltx_core.shapes import TIME_STRIDE, PixelShape
from ltx_core.training.config import TrainSettings
from ltx_core.training.methods.crepa import Crepa, batch_alignment, make_projector
from ltx_core.training.methods.settings import CrepaSettings
from ltx_core.vision.dinov2 import FrameEncoder

GIANT: dict[str, Any] = {
    "hidden_size": 1536,
    "num_hidden_layers": 40,
    "num_attention_heads": 24,
    "use_swiglu_ffn": True,
    "image_size": 518,
}
TINY: dict[str, Any] = {**GIANT, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}
Work = Any


def aligned(transformer: Any, crepa: Crepa) -> Work:
    """Loss with alignment, and gradients of a batch."""

    def work(b: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        video = Stream(b["video"], b["sigma"], b["sigma"], b["video_context"], b["video_positions"])
        audio = Stream(b["audio"], b["sigma"], b["sigma"], b["audio_context"], b["audio_positions"])
        hook = HiddenStateHook(crepa.own.block_index)
        found = denoise(transformer, video, audio, hooks=[hook])
        assert found[0] is not None
        assert found[1] is not None
        assert hook.video is not None
        loss = (found[0].float() - b["video"].float()).square().mean()
        loss = loss + (found[1].float() - b["audio"].float()).square().mean()
        scores = batch_alignment(crepa.own, crepa.projector, hook.video, b["features"], b["weight"]).score
        (loss - crepa.own.weight * scores.mean()).backward()
        return {"loss": loss.detach(), "score": scores.mean().detach()}

    return work


def with_features(data: dict[str, torch.Tensor], shape: Sequence[int], width: int) -> dict[str, torch.Tensor]:
    """The batch with features of its frames."""
    latent = PixelShape(shape[2], shape[0], shape[1]).latent()
    size, places = shape[3], latent.height * latent.width
    generator = torch.Generator(DEVICE).manual_seed(2)
    features = torch.randn(size, latent.frames, places, width, device=DEVICE, dtype=torch.float16, generator=generator)
    return {**data, "features": features, "weight": torch.ones(size, latent.tokens, device=DEVICE)}


def step_rows(transformer: Any, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every shape without and with alignment; `longer` is the share of the time that it adds."""
    lora = list(lora_parameters(transformer).values())
    width = int(transformer.proj_in.weight.shape[0])
    settings = TrainSettings(crepa=CrepaSettings(block_index=min(8, args.blocks - 1)))
    for shape in args.shapes:
        whole = 0.0
        for way in ("off", "on"):
            crepa = Crepa(settings, make_projector(width, args.features, seed=0, device=str(DEVICE)))
            parameters = lora + (list(crepa.projector.values()) if way == "on" else [])
            optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=DEVICE.type == "cuda")
            data = batch(transformer, SHAPES[shape], args.text)
            work = forward_backward(transformer, autocast=False)
            if way == "on":
                data, work = with_features(data, SHAPES[shape], args.features), aligned(transformer, crepa)
            found = steps(StepGraphs(work, parameters) if DEVICE.type == "cuda" else work, data, parameters, optimizer)
            whole = found.get("seconds", 0.0) if way == "off" else whole
            longer = {"longer": round(found["seconds"] / whole - 1, 4)} if whole and way == "on" else {}
            yield {"row": f"step, {way}", "shape": shape, **found, **longer}
            del work, data, optimizer, parameters, crepa
            collect()


def encoder(args: argparse.Namespace, frames_at_once: int) -> FrameEncoder:
    """DINOv2 with random weights."""
    config = Dinov2Config(**(TINY if args.tiny else GIANT))
    with torch.device("meta"):
        model = Dinov2Model(config)
    model.load_state_dict(random_tensors(model, list(model.state_dict())), strict=True, assign=True)
    return FrameEncoder(model.requires_grad_(False).eval(), config.image_size, frames_at_once)


def feature_rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds a clip of every shape."""
    for at_once in (1, 16):
        model = encoder(args, at_once)
        for shape in args.shapes:
            height, width, frames, _ = SHAPES[shape]
            clip = torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8)[::TIME_STRIDE]
            made, seconds = torch.empty(0), []
            if DEVICE.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            for _ in range(WARM_UPS + STEPS):
                synchronize()
                begun = time.monotonic()
                made = model.features(clip).cpu()
                seconds.append(time.monotonic() - begun)
            peak = torch.cuda.max_memory_allocated() / GIB if DEVICE.type == "cuda" else 0.0
            yield {
                "row": f"features, {at_once} frames at once",
                "shape": shape,
                "seconds_a_clip": round(sorted(seconds[WARM_UPS:])[STEPS // 2], 4),
                "peak_gib": round(peak, 2),
                "mib_a_clip": round(made.nbytes / 2**20, 2),
            }
        del model
        collect()


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--precision", default="fp8", choices=["native", "int8", "fp8"])
    parser.add_argument("--budget", type=float, default=0.99, help="of activations; 1 at 121 wants a card of 80 GiB")
    parser.add_argument("--generation", default="2.0")
    parser.add_argument("--shapes", nargs="+", default=["17", "121"], choices=sorted(SHAPES))
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    args.text, args.features = 1024, GIANT["hidden_size"]
    if args.tiny:
        args.precision = "int8"
        args.text, args.shapes, args.blocks, args.features = 8, ["tiny"], 3, TINY["hidden_size"]
    for row in feature_rows(args):
        say("crepa", row, args.out)
    budget = 1.0 if args.tiny else args.budget
    options = EngineOptions(precision=args.precision, activation_budget=budget, fused=True, compiled=not args.tiny)
    transformer = empty_transformer(args.blocks, args.tiny, args.generation)
    assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE)
    set_policies(with_lora(transformer), options, None)
    for row in step_rows(transformer, args):
        say("crepa", row, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
