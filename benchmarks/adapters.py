"""A step of the full-size LTX-2.0 transformer with each kind of adapter: seconds, peak, and the memory plan's peak.

    python benchmarks/adapters.py --out results.jsonl    # on one H200; wants lycoris-lora installed
    python benchmarks/adapters.py --tiny                 # tries the script on a CPU

All attention projections, 8-bit or bf16 weights, resident, compiled blocks, a CUDA graph, AdamW in float32.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.engine import DEVICE, SHAPES, batch, empty_transformer, forward_backward, random_tensors, steps
from benchmarks.engine_table import collect
from benchmarks.lines import say
from ltx_core.adapters.lora import ADAPTER
from ltx_core.adapters.lycoris import remove_lycoris
from ltx_core.engine.assemble import assemble, set_policies
from ltx_core.engine.dropout import set_dropout_key
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions
from ltx_core.memory.plan import GIB
from ltx_core.memory.training import Training, TrainingStep
from ltx_core.memory.transformer import BatchShape, Shapes, model_sizes
from ltx_core.training.config import TrainSettings
from ltx_core.training.plan_settings import trained_weights
from ltx_core.training.run import put_on

LOKR = {"algo": "lokr", "linear_dim": 10000, "factor": 16}
KINDS: dict[str, dict[str, Any]] = {
    "LoCon": {"lycoris": {"algo": "locon", "linear_dim": 32}},
    "LoKr": {"lycoris": LOKR},
    "LoHa": {"lycoris": {"algo": "loha", "linear_dim": 16}},
    "DoRA": {"lycoris": {"algo": "lora", "linear_dim": 32, "dora_wd": True}},
    "DoRA of LoKr": {"lycoris": LOKR | {"dora_wd": True}},
    "LoRA": {},
    "LoRA, dropout": {"dropout": 0.1},
}
"""Settings of training; plain LoRAs last, because peft's layers stay."""


def rows(
    transformer: Any, shapes: Shapes, options: EngineOptions, args: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """One for each kind; a LoRA of rank 32 is what the others are to be held against."""
    for kind in args.kinds:
        settings = TrainSettings.model_validate(KINDS[kind])
        parameters = list(put_on(transformer, settings).parameters().values())
        torch._dynamo.reset()
        set_policies(transformer, options, None)
        data = batch(transformer, SHAPES[args.shape], args.text)
        found = measured(transformer, data, parameters, settings)
        trained, adapter = trained_weights(settings, shapes)
        tokens = BatchShape(len(data["video"]), data["video"].shape[1], data["audio"].shape[1], args.text)
        training = Training(trained, "adamw", 2, adapter=adapter)
        peak = TrainingStep(model_sizes(shapes), tokens, training).estimate(options).peak_bytes / GIB
        yield {"row": kind, "shape": args.shape, "trained": trained, "predicted_gib": round(peak, 2), **found}
        del parameters, data
        if settings.lycoris is None:
            transformer.delete_adapters(ADAPTER)
        else:
            remove_lycoris(transformer, ADAPTER)
        collect()


def measured(
    transformer: Any, data: dict[str, torch.Tensor], parameters: list[torch.nn.Parameter], settings: TrainSettings
) -> dict[str, Any]:
    """Whole steps, as training takes them."""
    plain = forward_backward(transformer, autocast=False)
    if settings.dropout:
        data["dropout_key"] = torch.arange(1, len(data["video"]) + 1, device=DEVICE)

    def work(b: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        set_dropout_key(transformer, b.get("dropout_key"))
        made: dict[str, torch.Tensor] = plain(b)
        return made

    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=DEVICE.type == "cuda")
    return steps(StepGraphs(work, parameters) if DEVICE.type == "cuda" else work, data, parameters, optimizer)


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU")
    parser.add_argument("--blocks", type=int, default=48)
    parser.add_argument("--generation", default="2.0")
    parser.add_argument("--precision", default="fp8", choices=["native", "int8", "fp8"])
    parser.add_argument("--recompute", type=float, default=0.0)
    parser.add_argument("--shape", default="121", choices=sorted(SHAPES))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    args.text = 1024
    if args.tiny:
        args.text, args.shape, args.blocks, args.precision = 8, "tiny", 2, "int8"
    options = EngineOptions(
        precision=args.precision,
        activation_checkpointing=args.recompute,
        fused=True,
        compiled=not args.tiny,
        graphs=not args.tiny,
    )
    transformer = empty_transformer(args.blocks, args.tiny, args.generation)
    shapes = {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
    assemble(transformer, partial(random_tensors, transformer), options, device=DEVICE)
    for row in rows(transformer, shapes, options, args):
        say(f"adapters, {args.precision} weights", row, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
