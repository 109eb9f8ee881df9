"""What 8 bits lose of the full-size model with random weights, and how long finding that out takes.

    python benchmarks/low_precision.py --out results.jsonl     # one clip of 480x832x17, without outliers and with them
    python benchmarks/low_precision.py --tiny                  # tries the script on a CPU

As at the first start of a run with `low_precision: auto`, but that weights are drawn and not read. An outlier is a
channel that adaLN makes so many times as large as the others, before the self-attention and before the feed-forward of
every block. Needs no Prefect, no MLflow, no PyAV.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.engine import DEVICE, SHAPES, batch, empty_transformer, random_tensors, synchronize
from benchmarks.lines import say
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream
from ltx_core.engine.assemble import fill_block, fill_outside
from ltx_core.engine.options import EngineOptions
from ltx_core.engine.precision_loss import compare
from ltx_core.engine.quantised_cache import NoCache

MODULATED = (1, 4)
"""Rows of a block's table that scale what its self-attention and its feed-forward are given."""
CHANNEL = 5


def found(kind: Any, outlier: float, args: argparse.Namespace) -> dict[str, Any]:
    """What the comparison says, and its seconds."""
    transformer = empty_transformer(args.blocks, args.tiny, "2.0")

    def read(names: Sequence[str]) -> dict[str, torch.Tensor]:
        made = random_tensors(transformer, names)
        for name, tensor in made.items():
            if outlier and name.startswith("transformer_blocks.") and name.endswith(".scale_shift_table"):
                tensor[MODULATED, CHANNEL] = outlier
        return made

    def fill(index: int, options: EngineOptions) -> torch.nn.Module:
        block = deepcopy(transformer.transformer_blocks[index])
        fill_block(block, index, read, options, device=DEVICE)
        return block

    def loss() -> torch.Tensor:
        video = Stream(data["video"], data["sigma"], data["sigma"], data["video_context"], data["video_positions"])
        audio = Stream(data["audio"], data["sigma"], data["sigma"], data["audio_context"], data["audio_positions"])
        made = denoise(transformer, video, audio)
        pairs = zip(made, (data["video"], data["audio"]), strict=True)
        return torch.stack([(x.float() - y.float()).square().mean() for x, y in pairs if x is not None]).sum()

    fill_outside(transformer, read, NoCache())
    transformer.requires_grad_(False)
    data = batch(transformer, SHAPES[args.shape], args.text)
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.monotonic()
    made = compare(transformer, fill, loss, kind, clip="drawn", low_backward=True, device=DEVICE)
    synchronize()
    row: dict[str, Any] = {"row": f"{kind}, outlier {outlier:g}", "shape": args.shape, "blocks": args.blocks}
    row |= {"seconds": round(time.monotonic() - started, 1), "kinds": made.kinds, "multiplied": len(made.products)}
    row |= {"native_layers": len(made.native), "loss": made.whole.loss, "native_loss": made.whole.native_loss}
    row |= {"gradient_error": made.whole.gradient_error, "rejected": made.rejected is not None}
    row |= {"worst": made.lines()[-1].removeprefix("layers that lose most: ")}
    if DEVICE.type == "cuda":
        row["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return row


def main() -> int:
    """Compare every precision, without outliers and with them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy blocks; works on a CPU")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="17 of one clip")
    parser.add_argument("--precisions", nargs="+", choices=("int8", "fp8"), default=["int8", "fp8"])
    parser.add_argument("--outliers", nargs="+", type=float, default=[0, 30, 100])
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    args.text = 32 if args.tiny else 1024
    if args.tiny:
        args.blocks, args.shape = 2, "tiny"
    for kind, outlier in ((k, o) for k in args.precisions for o in args.outliers):
        say("low_precision", found(kind, outlier, args), args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
