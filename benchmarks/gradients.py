"""How far each way of computing a step is from float32: loss, gradients, and what one optimizer step does to the loss.

    python benchmarks/gradients.py --out results.jsonl     # full-size blocks, random weights; 24 fit float32 in 80 GB
    python benchmarks/gradients.py --tiny                  # tries the script on a CPU

Every way has the same weights, batch and LoRA of rank 32 on all attention projections: one that is fresh (B is zero, as
at a run's first step) and one that is not. A gradient's error is its distance from float32's over the length of that.
The loss is of the same batch before and after a step of AdamW. Needs no Prefect, no MLflow, no PyAV.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.engine import (
    DEVICE,
    SHAPES,
    batch,
    empty_transformer,
    forward_backward,
    random_tensors,
    with_lora,
)
from benchmarks.engine_table import collect
from benchmarks.lines import say
from ltx_core.adapters.lora import lora_parameters
from ltx_core.engine.assemble import assemble, set_policies
from ltx_core.engine.graphs import StepGraphs
from ltx_core.engine.options import EngineOptions

LEARNING_RATE = 1e-4
Gradients = dict[str, torch.Tensor]
REFERENCE = "float32"


@dataclass(frozen=True)
class Way:
    """How a step is computed."""

    options: EngineOptions
    wide: bool = False
    """In float32."""
    autocast: bool = False


def ways() -> dict[str, Way]:
    """By name; the first is what the others are compared with."""
    own: dict[str, Any] = {"activation_checkpointing": 1.0, "fused": True, "compiled": True}
    found = {
        REFERENCE: Way(EngineOptions(activation_checkpointing=1.0), wide=True),
        "plain diffusers + peft": Way(EngineOptions(activation_checkpointing=1.0), autocast=True),
        "bf16, eager": Way(EngineOptions(activation_checkpointing=1.0)),
        "bf16, fused": Way(EngineOptions(activation_checkpointing=1.0, fused=True)),
        "bf16, compiled": Way(EngineOptions(**own)),
        "bf16, compiled, graph": Way(EngineOptions(**own, graphs=True)),
        "fp8, compiled, graph": Way(EngineOptions(**own, graphs=True, precision="fp8")),
        "int8, compiled, graph": Way(EngineOptions(**own, graphs=True, precision="int8")),
        "int8 weights, compiled, graph": Way(EngineOptions(**own, graphs=True, precision="int8", products="none")),
    }
    on_gpu = DEVICE.type == "cuda"
    return {name: way for name, way in found.items() if on_gpu or not way.options.compiled}


def computed(way: Way, args: argparse.Namespace) -> Iterator[tuple[str, Gradients, dict[str, float]]]:
    """Gradients and losses with a fresh and with a trained LoRA."""
    transformer = empty_transformer(args.blocks, args.tiny, "2.0")
    assemble(transformer, partial(random_tensors, transformer), way.options, device=DEVICE)
    if way.wide:
        transformer.float()
    with_lora(transformer, plain=way.autocast)
    set_policies(transformer, way.options, None)
    parameters = lora_parameters(transformer)
    first = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    data = batch(transformer, SHAPES[args.shape], args.text)
    if way.wide:
        data = {name: tensor.float() for name, tensor in data.items()}
    work = forward_backward(transformer, way.autocast)
    step = StepGraphs(work, list(parameters.values())) if way.options.graphs else work
    for state in ("fresh", "trained"):
        for name, parameter in parameters.items():
            empty = state == "fresh" and name.endswith("lora_B.weight")
            parameter.data.copy_(torch.zeros_like(first[name]) if empty else first[name])
            parameter.grad = None
        before = float(step(data)["loss"])
        gradients = {name: given(parameter).clone() for name, parameter in parameters.items()}
        torch.optim.AdamW(parameters.values(), lr=LEARNING_RATE).step()  # a fresh one, which moves no weight elsewhere
        for parameter in parameters.values():
            parameter.grad = None
        yield state, gradients, {"loss": before, "falls_by": before - float(step(data)["loss"])}


def given(parameter: torch.nn.Parameter) -> torch.Tensor:
    """Its gradient; none is zero."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def compared(gradients: Gradients, reference: Gradients) -> dict[str, Any]:
    """Error and cosine over all LoRAs, and the error of the worst kind of layer of each sort."""
    square = {name: sums(gradients[name], reference[name]) for name in gradients}
    kinds: dict[str, list[str]] = {}
    for name in gradients:
        kinds.setdefault(kind_of(name), []).append(name)
    by_kind = {kind: error(square, names) for kind, names in kinds.items()}
    scores = {kind: value for kind, value in by_kind.items() if ".to_q." in kind or ".to_k." in kind}
    others = {kind: value for kind, value in by_kind.items() if kind not in scores}
    return {
        "error": error(square, list(gradients)),
        "one_minus_cosine": 1 - cosine(square, list(gradients)),
        "worst_of_queries_and_keys": largest(scores),
        "worst_of_values_and_outputs": largest(others),
    }


def largest(errors: Mapping[str, float]) -> str:
    """The largest error, and whose it is."""
    kind = max(errors, key=lambda kind: errors[kind])
    return f"{errors[kind]:.3f} {kind}"


def sums(gradient: torch.Tensor, reference: torch.Tensor) -> tuple[float, float, float, float]:
    """Squares of the difference, of both, and their product."""
    left, right = gradient.to(DEVICE).double(), reference.to(DEVICE).double()
    return tuple(float(x.sum()) for x in ((left - right) ** 2, left**2, right**2, left * right))  # type: ignore[return-value]


def error(square: Mapping[str, tuple[float, float, float, float]], names: list[str]) -> float:
    """Distance from the reference over its length."""
    away, whole = (sum(square[name][i] for name in names) for i in (0, 2))
    return round((away / whole) ** 0.5, 5) if whole else 0.0


def cosine(square: Mapping[str, tuple[float, float, float, float]], names: list[str]) -> float:
    """Of the angle to the reference."""
    left, right, both = (sum(square[name][i] for name in names) for i in (1, 2, 3))
    return both / (left * right) ** 0.5 if left and right else 0.0


def kind_of(name: str) -> str:
    """`attn1.to_q.B` of a parameter's name."""
    attention, projection = name.rsplit("transformer_blocks.", maxsplit=1)[-1].split(".")[1:3]
    return f"{attention}.{projection}.{'A' if 'lora_A' in name else 'B'}"


def lines(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every way and state."""
    reference: dict[str, Gradients] = {}
    for name, way in ways().items():
        for state, gradients, losses in computed(way, args):
            reference.setdefault(state, {name: gradient.cpu() for name, gradient in gradients.items()})
            yield {"row": name, "lora": state, **losses, **compared(gradients, reference[state])}
        torch._dynamo.reset()
        collect()


def main() -> int:
    """Compare every way with float32."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy blocks; works on a CPU")
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="17")
    parser.add_argument("--out", type=Path, help="append the lines here")
    args = parser.parse_args()
    args.text = 8 if args.tiny else 1024
    if args.tiny:
        args.blocks, args.shape = 2, "tiny"
    for line in lines(args):
        say("gradients", {"blocks": args.blocks, "shape": args.shape, **line}, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
