"""Which layers a LyCORIS adapter changes, and the tensors it has there, from names and shapes alone. No torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ltx_core.errors import ConfigError
from ltx_core.lora.names import (
    AUDIO_ATTENTIONS,
    BLOCKS,
    CROSS_ATTENTIONS,
    VIDEO_ATTENTIONS,
    stream_of,
    target_layers,
)
from ltx_core.lycoris.settings import Algorithm, ClassOptions, LycorisSettings

ATTENTIONS = frozenset(VIDEO_ATTENTIONS + AUDIO_ATTENTIONS + CROSS_ATTENTIONS)
FEED_FORWARDS = frozenset({"ff", "audio_ff"})
Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerOptions:
    """What decides the tensors of one layer."""

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
    linear: Sequence[str], settings: LycorisSettings, targets: str | Sequence[str], *, video_only: bool = False
) -> dict[str, LayerOptions]:
    """Those of the linear layers named `linear` that are meant, sorted, each with its options.

    `targets` counts where the settings have no `apply_preset`.

    Raises:
        ConfigError: a class or target matches no layer.
    """
    preset = settings.apply_preset
    if preset is None:
        chosen = target_layers(linear, targets, video_only=video_only)
        return {name: _options(settings, None) for name in chosen}
    seen = [name for name in linear if not video_only or stream_of(name) == "video"]
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
        max((n for (heard, _), n in blocks.items() if heard is sound), default=0) for sound in (False, True)
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
