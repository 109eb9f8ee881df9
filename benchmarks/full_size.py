"""Write a full-size checkpoint with random weights on a GPU machine, load it, and time the caches' models.

    PYTHONPATH=. python benchmarks/full_size.py write /scratch/ltx.safetensors   # 2.0 layout, about 43 GB
    PYTHONPATH=. python benchmarks/full_size.py load /scratch/ltx.safetensors    # JSON: seconds, host and GPU peaks
    PYTHONPATH=. python benchmarks/full_size.py encoders                         # video VAE and Gemma 3 12B throughput

Needs torch, diffusers, transformers and safetensors; no Prefect, no MLflow, no PyAV.
"""

import argparse
import json
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
from diffusers.pipelines.ltx2 import LTX2Vocoder
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d

from benchmarks import released
from benchmarks.lines import say
from ltx_core.autoencoder.video import encode_video
from ltx_core.checkpoint.architecture import (
    audio_vae_arguments,
    connector_arguments,
    transformer_arguments,
    video_vae_arguments,
    vocoder_arguments,
)
from ltx_core.checkpoint.keys import to_original_keys
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_connectors, load_transformer, load_video_vae

GIB = 2**30
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CAPTION_TOKENS = 200
CLIP = (121, 512, 768)


def main() -> int:
    """Run one part and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("write", "load", "encoders"))
    parser.add_argument("path", type=Path, nargs="?")
    args = parser.parse_args()
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "write": lambda: write(args.path),
        "load": lambda: load(args.path),
        "encoders": encoders,
    }
    say(args.part, parts[args.part]())
    return 0


def write(path: Path) -> dict[str, Any]:
    """Stream random bf16 tensors of every component to `path`, in Lightricks' combined layout."""
    config = released.config("2.0")
    return stream(path, dict(tensors(config)), {"config": json.dumps(config), "model_version": "2.0.0"})


def stream(path: Path, shapes: Mapping[str, torch.Size], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Write random bf16 tensors as a safetensors file, each made on the GPU: 40 GiB take a minute.

    The standard deviations by which latents are divided are 1.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, shape in shapes.items():
        size = 2 * shape.numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    started = time.monotonic()
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(encoded)) + encoded)
        for name, shape in shapes.items():
            values = torch.randn(shape.numel(), device=DEVICE, dtype=torch.bfloat16) * 0.02
            values = torch.ones_like(values) if "std-of-means" in name else values
            out.write(values.cpu().view(torch.uint8).numpy().data)
    return {"gib": offset / GIB, "tensors": len(shapes), "seconds": time.monotonic() - started}


def tensors(config: dict[str, Any]) -> Iterator[tuple[str, torch.Size]]:
    """Name and shape of every stored tensor, from modules on the meta device."""
    features = config["transformer"]["caption_channels"]
    with torch.device("meta"):
        connectors = {n: LTX2ConnectorTransformer1d(**kw) for n, kw in connector_arguments(config).items()}
        modules = {
            "transformer": LTX2VideoTransformer3DModel(**transformer_arguments(config)),
            "connectors": torch.nn.ModuleDict(connectors),
            "text_projection": torch.nn.ModuleDict(
                {"text_proj_in": torch.nn.Linear(features * 49, features, bias=False)}
            ),
            "video_vae": AutoencoderKLLTX2Video(**video_vae_arguments(config)),
            "audio_vae": AutoencoderKLLTX2Audio(**audio_vae_arguments(config)),
            "vocoder": LTX2Vocoder(**vocoder_arguments(config)),
        }
    for component, module in modules.items():
        for name, tensor in to_original_keys(component, module.state_dict()).items():
            yield name, tensor.shape


def load(path: Path) -> dict[str, Any]:
    """Load transformer, connectors and video VAE to the GPU; peaks of host memory above the start, and of the GPU."""
    torch.zeros(1, device="cuda")  # the CUDA context is not the loader's
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    checkpoint = open_combined(path)
    figures: dict[str, Any] = {}
    kept = []
    for name, loader in (
        ("transformer", load_transformer),
        ("connectors", load_connectors),
        ("video_vae", load_video_vae),
    ):
        begun = time.monotonic()
        kept.append(loader(checkpoint, device="cuda", dtype=torch.bfloat16))
        torch.cuda.synchronize()
        figures[f"{name}_seconds"] = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return figures | {
        "seconds": time.monotonic() - started,
        "host_peak_above_start_gib": (peak - before) * 1024 / GIB,
        "gpu_peak_gib": torch.cuda.max_memory_allocated() / GIB,
        "gpu_resident_gib": torch.cuda.memory_allocated() / GIB,
    }


def encoders() -> dict[str, Any]:
    """Seconds a clip of the video VAE's encoder, and captions a second of Gemma 3 12B, with random weights."""
    return {**video_vae(), **gemma()}


def video_vae() -> dict[str, Any]:
    """121x512x768 given as decoded frames, bf16, eager and with the encoder compiled."""
    config = released.config("2.0")
    with torch.device("cuda"):
        vae = AutoencoderKLLTX2Video(**video_vae_arguments(config)).to(torch.bfloat16).eval()
    frames = torch.randint(0, 256, (CLIP[0], *CLIP[1:], 3), dtype=torch.uint8)
    eager = timed(lambda: encode_video(vae, frames), 3)
    eager_peak = torch.cuda.max_memory_allocated() / GIB
    vae.encoder = torch.compile(vae.encoder)
    compiled = timed(lambda: encode_video(vae, frames), 5)
    return {"vae_clip": list(CLIP), "vae_eager_s": eager, "vae_peak_gib": eager_peak, "vae_compiled_s": compiled}


def gemma() -> dict[str, Any]:
    """All hidden states of captions of 200 tokens: one by one, and in batches of equal length without padding."""
    from transformers import Gemma3TextConfig, Gemma3TextModel

    torch.cuda.empty_cache()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Gemma3TextModel(Gemma3TextConfig(**released.GEMMA_3_12B)).eval()
    torch.set_default_dtype(torch.float32)
    figures: dict[str, Any] = {}
    for batch in (1, 8, 32):
        ids = torch.randint(0, 1000, (batch, CAPTION_TOKENS), device="cuda")

        def run(ids: torch.Tensor = ids) -> torch.Tensor:
            with torch.no_grad():
                out = model(input_ids=ids, output_hidden_states=True, use_cache=False)
                return torch.stack(out.hidden_states, dim=-1)

        figures[f"gemma_captions_per_s_batch{batch}"] = batch / timed(run, 5)
    return figures | {"gemma_peak_gib": torch.cuda.max_memory_allocated() / GIB}


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Median seconds after two warm-up calls."""
    for _ in range(2):
        work()
    seconds = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        begun = time.monotonic()
        work()
        torch.cuda.synchronize()
        seconds.append(time.monotonic() - begun)
    return sorted(seconds)[repeats // 2]


if __name__ == "__main__":
    sys.exit(main())
