"""What LyCORIS files call their tensors, and which options their shapes mean. No torch."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from ltx_core.errors import CheckpointError
from ltx_core.lora.layout import original_name, strip_prefix
from ltx_core.lycoris.layers import LayerOptions, Shape, tensor_shapes
from ltx_core.lycoris.settings import Algorithm

T = TypeVar("T")
ALPHA, DORA = "alpha", "dora_scale"
UNDERSCORED = ("lycoris_", "lora_unet_", "lora_transformer_")
"""Prefixes of the library (and of programs that save with it), of kohya's scripts and ComfyUI, and of OneTrainer: the
dots of a module's name are underscores in these."""
NORM_OF_FROZEN = {"ltx2.dora_scale": "times (W + dW) / |W|, by rows"}
"""Header of a file whose `dora_scale` is meant as ComfyUI takes it. Without it, it is meant as the paper and the
library take it: times (W + dW) / |W + dW|."""
_KEY = re.compile(r"(.+?)\.(lora_(?:up|down)\.weight|hada_w[12]_[ab]|lokr_w[12](?:_[ab])?|alpha|dora_scale)")
_OWN = re.compile(r".*\.(hada_w[12]_[ab]|lokr_w[12](?:_[ab])?|dora_scale)")
_FIRST: dict[str, Algorithm] = {"hada_w1_a": "loha", "lokr_w1": "lokr", "lokr_w1_a": "lokr", "lora_up.weight": "lora"}


def is_lycoris(names: Iterable[str]) -> bool:
    """Whether a file of these tensors is one of LyCORIS: LoHa, LoKr, any with DoRA, any by the library's names."""
    return any(_OWN.fullmatch(name) or name.startswith(UNDERSCORED) for name in names)


def split_key(key: str) -> tuple[str, str]:
    """The module, with the program's prefix, and the library's name of a tensor.

    Raises:
        CheckpointError: it is none.
    """
    if (match := _KEY.fullmatch(key)) is None:
        raise CheckpointError(
            f"{key} is no tensor of LoCon, LoHa or LoKr on a linear layer, with or without DoRA; other algorithms and "
            f"convolutions are not supported"
        )
    return match[1], match[2]


def lycoris_parts(path: Path, tensors: Mapping[str, T], modules: Iterable[str]) -> dict[str, dict[str, T]]:
    """The tensors of a file, or what its header says of them, by module of `modules` and by the library's name, sorted.

    Raises:
        CheckpointError: a tensor is no part of a LyCORIS adapter, or is for a module that is not there; names them.
    """
    known = {name: name for name in modules}
    underscored = {form.replace(".", "_"): name for name in known for form in (name, original_name(name))}
    found: dict[str, dict[str, T]] = {}
    missing = []
    for key, tensor in sorted(tensors.items()):
        stem, own = split_key(key)
        module = _module(stem, known, underscored)
        if module is None:
            missing.append(key)
        else:
            found.setdefault(module, {})[own] = tensor
    if missing:
        raise CheckpointError(
            f"{path} changes modules that are missing in this transformer, such as {missing[:3]}; use the adapter with "
            f"the model it was trained on"
        )
    return dict(sorted(found.items()))


def options_of(path: Path, module: str, found: Mapping[str, Shape], weight: Shape, alpha: float | None) -> LayerOptions:
    """The options that give tensors of these shapes for a weight [out, in]. Without an alpha it is the rank.

    Raises:
        CheckpointError: no options do.
    """
    shapes = {name: shape for name, shape in found.items() if name != ALPHA}
    for options in _candidates(shapes, alpha):
        if tensor_shapes(options, weight) == shapes:
            return options
    raise CheckpointError(
        f"{path} changes {module} by {dict(sorted(shapes.items()))}, which is no LoCon, LoHa or LoKr of a "
        f"{list(weight)} weight; use the adapter with the model generation it was trained on"
    )


def _candidates(shapes: Mapping[str, Shape], alpha: float | None) -> Iterable[LayerOptions]:
    algo = next((_FIRST[name] for name in shapes if name in _FIRST), None)
    ranks = [shape[0] for name, shape in shapes.items() if name.endswith(("_b", "lora_down.weight"))]
    if algo is None:
        return
    dim, dora = min(ranks, default=1), DORA in shapes
    scale = float(dim) if alpha is None else alpha
    if algo != "lokr":
        yield LayerOptions(algo, dim, scale, dora=dora)
        return
    small = shapes.get("lokr_w1", (*shapes.get("lokr_w1_a", ())[:1], *shapes.get("lokr_w1_b", ())[1:]))
    for factor in (-1, *range(1, max(small, default=0) + 1)):
        yield LayerOptions(algo, dim, scale, factor, not ranks, "lokr_w1_a" in shapes, dora)


def _module(stem: str, known: Mapping[str, str], underscored: Mapping[str, str]) -> str | None:
    """The module under diffusers' name."""
    prefix = next((prefix for prefix in UNDERSCORED if stem.startswith(prefix)), None)
    return known.get(strip_prefix(stem)) if prefix is None else underscored.get(stem.removeprefix(prefix))
