"""LyCORIS files by their headers: layers, tensors, and whether a file fits a model. No torch."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ltx_core.adapters.lora_layout import (
    AUDIO_ATTENTIONS,
    BLOCKS,
    CROSS_ATTENTIONS,
    HALF_DTYPES,
    VIDEO_ATTENTIONS,
    OnlyStream,
    check_fits,
    header_shapes,
    original_name,
    stream_of,
    strip_prefix,
    target_layers,
)
from ltx_core.adapters.lycoris_settings import Algorithm, ClassOptions, LycorisSettings
from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.io.safetensors import read_header

ATTENTIONS = frozenset(VIDEO_ATTENTIONS + AUDIO_ATTENTIONS + CROSS_ATTENTIONS)
FEED_FORWARDS = frozenset({"ff", "audio_ff"})
Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerOptions:
    """The options that decide the tensors of one layer."""

    algo: Algorithm
    dim: int
    """The rank, also called so in the library."""
    alpha: float
    """Scale times rank; nothing to LoKr with two whole factors."""
    factor: int = -1
    full_matrix: bool = False
    decompose_both: bool = False
    dora: bool = False


def lycoris_layers(
    linear: Sequence[str],
    settings: LycorisSettings,
    targets: str | Sequence[str],
    *,
    only: OnlyStream | None = None,
    blocks: Collection[int] | None = None,
) -> dict[str, LayerOptions]:
    """Those of the linear layers named `linear` that are meant, sorted, each with its options.

    `targets` and `blocks` count where the settings have no `apply_preset`.

    Raises:
        ConfigError: a class or target matches no layer.
    """
    preset = settings.apply_preset
    if preset is None:
        chosen = target_layers(linear, targets, only=only, blocks=blocks)
        return {name: _options(settings, None) for name in chosen}
    seen = [name for name in linear if only is None or stream_of(name) == only]
    found: dict[str, LayerOptions] = {}
    for wanted in preset.target_module:
        inside = [name for name in seen if _bare(wanted) in _classes(name)]
        if not inside:
            raise ConfigError(f"target_module {wanted!r} holds no linear layer of this transformer; leave it out")
        found |= {name: _options(settings, _of_class(preset.module_algo_map, name)) for name in inside}
    return dict(sorted(found.items()))


def tensor_shapes(options: LayerOptions, shape: Shape) -> dict[str, Shape]:
    """Of what is trained for a weight [out, in], by the library's names."""
    out, into = shape
    dim = options.dim
    shapes: dict[str, Shape] = {"dora_scale": (out, 1)} if options.dora else {}
    if options.algo == "lora":
        return shapes | {"lora_down.weight": (dim, into), "lora_up.weight": (out, dim)}
    if options.algo == "loha":
        ends: dict[str, Shape] = {"a": (out, dim), "b": (dim, into)}
        return shapes | {f"hada_w{half}_{end}": ends[end] for half in (1, 2) for end in ends}
    (small_out, large_out), (small_in, large_in) = factor_pair(out, options.factor), factor_pair(into, options.factor)
    small_cut = options.decompose_both and not options.full_matrix and dim < max(small_out, small_in) / 2
    large_cut = not options.full_matrix and dim < max(large_out, large_in) / 2
    return (
        shapes
        | _factor("lokr_w1", small_out, small_in, dim, cut=small_cut)
        | _factor("lokr_w2", large_out, large_in, dim, cut=large_cut)
    )


def factor_pair(side: int, factor: int) -> tuple[int, int]:
    """Two factors of `side`, the smaller first, as LyCORIS cuts it: `factor` and its complement if it divides, else the
    largest divisor up to `factor` and to the root; -1 is up to the root."""
    if factor > 0 and side % factor == 0:
        return min(factor, side // factor), max(factor, side // factor)
    most = math.isqrt(side) if factor < 0 else min(factor, math.isqrt(side))
    small = next(divisor for divisor in range(most, 0, -1) if side % divisor == 0)
    return small, side // small


def num_weights(layers: Mapping[str, LayerOptions], shapes: Mapping[str, Shape]) -> int:
    """Trained weights of these layers, whose weights [out, in] are `shapes`."""
    return sum(math.prod(s) for name, options in layers.items() for s in tensor_shapes(options, shapes[name]).values())


def extra_work(layers: Mapping[str, LayerOptions], shapes: Mapping[str, Shape]) -> tuple[int, int, int]:
    """Values of the largest weight whose change is built whole (LoHa's always, DoRA's for its rows' lengths); and what
    DoRA keeps of a video token and of an audio token in one block: the frozen layers' outputs."""
    built = [math.prod(shapes[name]) for name, options in layers.items() if options.dora or options.algo == "loha"]
    kept = most_in_a_block({name: shapes[name][0] for name, options in layers.items() if options.dora})
    return max(built, default=0), *kept


def most_in_a_block(values: Mapping[str, int]) -> tuple[int, int]:
    """Values by layer, added up for the block that has most: of video's layers and those between the streams, and of
    audio's."""
    blocks: dict[tuple[bool, str], int] = {}
    for name, number in values.items():
        if name.startswith(BLOCKS):
            place = (stream_of(name) == "audio", name.split(".")[1])
            blocks[place] = blocks.get(place, 0) + number
    video, audio = (
        max((n for (of_audio, _), n in blocks.items() if of_audio is wanted), default=0) for wanted in (False, True)
    )
    return video, audio


def _factor(name: str, rows: int, columns: int, dim: int, *, cut: bool) -> dict[str, Shape]:
    return {f"{name}_a": (rows, dim), f"{name}_b": (dim, columns)} if cut else {name: (rows, columns)}


def _options(settings: LycorisSettings, own: ClassOptions | None) -> LayerOptions:
    own = own or ClassOptions()
    algo, dim = own.algo or settings.algo, own.dim or settings.linear_dim
    alpha = own.alpha or settings.linear_alpha or float(dim)
    if algo != "lokr":
        return LayerOptions(algo, dim, alpha, dora=settings.dora_wd)
    factor = settings.factor if own.factor is None else own.factor
    return LayerOptions(algo, dim, alpha, factor, settings.full_matrix, settings.decompose_both, settings.dora_wd)


def _of_class(by_class: Mapping[str, ClassOptions], module: str) -> ClassOptions | None:
    """The innermost class that has options."""
    known = {_bare(name): options for name, options in by_class.items()}
    return next((known[name] for name in _classes(module) if name in known), None)


def _classes(module: str) -> tuple[str, ...]:
    """Classes of the modules that a layer lies in, innermost first."""
    if not module.startswith(BLOCKS):
        return ()
    part = module.split(".")[2]
    inner = "Attention" if part in ATTENTIONS else "FeedForward" if part in FEED_FORWARDS else None
    return ("LTX2VideoTransformerBlock",) if inner is None else (inner, "LTX2VideoTransformerBlock")


def _bare(name: str) -> str:
    return "Attention" if name == "LTX2Attention" else name


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
    """Return whether a file of these tensors is one of LyCORIS: LoHa, LoKr, any with DoRA, any by the library's
    names."""
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


def check_adapter(path: Path, layers: Mapping[str, Shape]) -> None:
    """True if everything in the file changes one of `layers`, which are [out, in] by module.

    Raises:
        CheckpointError: the file is missing, torn, of another kind, or of another model; names what is odd.
    """
    if not is_lycoris_file(path):
        check_fits(path, header_shapes(path), layers)
        return
    entries = read_header(path).tensors
    linear = {name: shape for name, shape in layers.items() if len(shape) == 2}
    for module, parts in lycoris_parts(path, entries, linear).items():
        shapes = {name: entry.shape for name, entry in parts.items() if entry.dtype in HALF_DTYPES}
        options_of(path, module, shapes, linear[module], None)


def is_lycoris_file(path: Path) -> bool:
    """Told from the names of its tensors.

    Raises:
        CheckpointError: the file is missing or torn.
    """
    return is_lycoris(read_header(path).tensors)
