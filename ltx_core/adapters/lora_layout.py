"""LoRA files by their headers: names of layers and tensors, alpha, and whether a file fits a model. No torch."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from ltx_core.checkpoint.keys import PREFIXES, diffusers_name, to_original_keys
from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.io.json_file import parse_object
from ltx_core.io.safetensors import read_header

BLOCKS = "transformer_blocks."
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
VIDEO_ATTENTIONS = ("attn1", "attn2")
AUDIO_ATTENTIONS = ("audio_attn1", "audio_attn2")
CROSS_ATTENTIONS = ("audio_to_video_attn", "video_to_audio_attn")
FEED_FORWARDS = ("net.0.proj", "net.2")


def _within(layers: Sequence[str], *modules: str) -> tuple[str, ...]:
    return tuple(f"{module}.{layer}" for module in modules for layer in layers)


BOTH = _within(PROJECTIONS, *VIDEO_ATTENTIONS, *AUDIO_ATTENTIONS, *CROSS_ATTENTIONS)
PRESETS: dict[str, tuple[str, ...]] = {
    "video": _within(PROJECTIONS, *VIDEO_ATTENTIONS),
    "audio": _within(PROJECTIONS, *AUDIO_ATTENTIONS),
    "audio+video": BOTH,
    "ff": _within(FEED_FORWARDS, "ff"),
    "audio_ff": _within(FEED_FORWARDS, "audio_ff"),
    "all-linear": BOTH + _within(FEED_FORWARDS, "ff", "audio_ff"),
}
"""Ends of the names of the layers that each means."""
OnlyStream = Literal["video", "audio"]
"""The one stream of a run that has no other."""
CROSS_MODULATION = "av_cross_attn_"
"""Outside the blocks, what drives the attention between the streams."""


def target_layers(
    linear: Sequence[str],
    targets: str | Sequence[str],
    *,
    only: OnlyStream | None = None,
    blocks: Collection[int] | None = None,
) -> list[str]:
    """Those of the linear layers named `linear` that `targets` means, sorted; as `target_modules` says. `blocks` are
    the only ones that are meant, and `only` names the one stream whose layers are.

    Raises:
        ConfigError: an unknown preset, a target that matches no layer, or a block that is not there.
    """
    if blocks is not None:
        linear = _in_blocks(linear, blocks)
    if only is not None:
        linear = [name for name in linear if stream_of(name) == only]
    names = {name: (f".{name}", f".{original_name(name)}") for name in linear}
    wanted = {target: PRESETS.get(target, (target,)) for target in _named(targets)}
    found = {target: {n for end in ends for n in _ending(names, f".{end}")} for target, ends in wanted.items()}
    if empty := [target for target, layers in found.items() if not layers]:
        where = "the transformer" if only is None else f"the {only} stream's part of the transformer"
        endings = sorted({name.split(".", 2)[2] if name.startswith(BLOCKS) else name for name in linear})
        raise ConfigError(f"targets {empty} match no layer in {where}; there are {endings}")
    return sorted({name for layers in found.values() for name in layers})


def _in_blocks(linear: Sequence[str], blocks: Collection[int]) -> list[str]:
    numbers = {name: int(name.split(".")[1]) for name in linear if name.startswith(BLOCKS)}
    if missing := sorted(set(blocks) - set(numbers.values())):
        raise ConfigError(
            f"target_blocks names {missing}, and the transformer has blocks 0 to {max(numbers.values())}; leave out "
            f"those that are not there"
        )
    return [name for name, number in numbers.items() if number in blocks]


def _ending(names: Mapping[str, tuple[str, str]], end: str) -> list[str]:
    return [name for name, (own, original) in names.items() if own.endswith(end) or original.endswith(end)]


def stream_of(module: str) -> str:
    """Whose layer it is: `video`, `audio`, or `cross` for the attention between them."""
    part = module.split(".")[2 if module.startswith(BLOCKS) else 0]
    if part in CROSS_ATTENTIONS or part.startswith(CROSS_MODULATION):
        return "cross"
    return "audio" if part.startswith("audio_") else "video"


def _named(targets: str | Sequence[str]) -> Sequence[str]:
    if not isinstance(targets, str):
        return targets
    if targets not in PRESETS:
        raise ConfigError(f"targets {targets!r} is no preset; give one of {sorted(PRESETS)} or a list of suffixes")
    return [targets]


@dataclass(frozen=True)
class Adapter:
    """A LoRA file and how much of it is added."""

    path: Path
    digest: str
    """Of the file's bytes, which is what names its renders."""
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength) or self.strength == 0:
            raise ConfigError(f"the strength of {self.path} is {self.strength}; a finite number other than 0 is wanted")


T = TypeVar("T")
Role = Literal["down", "up", "alpha"]
PREFIX = "diffusion_model."
DOWN, UP, ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"
FOREIGN_PREFIXES = ("model.diffusion_model.", PREFIX, "base_model.model.", "transformer.")
"""ComfyUI's, Lightricks' and ComfyUI's, peft's, diffusers'; `save_lora_adapter` of diffusers writes none."""
HALVES: dict[str, Role] = {
    "lora_A": "down",
    "lora_B": "up",
    "lora_down": "down",
    "lora_up": "up",
    "lora.down": "down",
    "lora.up": "up",
}
"""peft's names, kohya's, old diffusers'. The name of an adapter may follow, as peft's own state dict has it."""
_HALF = re.compile(rf"(.+?)\.({'|'.join(map(re.escape, HALVES))})(?:\.\w+)?\.weight")


def original_name(module: str) -> str:
    """A module of diffusers' transformer under Lightricks' name, which ComfyUI, ltx-core and diffusers all know."""
    (name,) = to_original_keys("transformer", {module: None})
    return name.removeprefix(PREFIXES["transformer"])


def strip_prefix(name: str) -> str:
    """A module as a file names it, without the program's prefix and under diffusers' name."""
    while prefix := next((p for p in FOREIGN_PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    return diffusers_name("transformer", name)


def parts(path: Path, tensors: Mapping[str, T]) -> dict[str, dict[Role, T]]:
    """The tensors of a file, or what its header says of them, by module under diffusers' name, and by what they are.

    Raises:
        CheckpointError: a tensor is no part of a plain LoRA, or a module has one twice; names them.
    """
    found: dict[str, dict[Role, T]] = {}
    foreign, twice = [], []
    for key, tensor in tensors.items():
        place = _place(key)
        if place is None:
            foreign.append(key)
            continue
        module, role = place
        if role in found.setdefault(module, {}):
            twice.append(key)
        found[module][role] = tensor
    if foreign or not tensors:
        raise CheckpointError(
            f"{path} holds {foreign[:3] or 'no tensors'}{f' and {len(foreign) - 3} more' if len(foreign) > 3 else ''}; "
            f"a plain LoRA is wanted: <module>{DOWN} and {UP} (or lora_down and lora_up), with or without <module>"
            f"{ALPHA}. Full differences and convolutions are not supported; fold them into a plain LoRA"
        )
    if twice:
        raise CheckpointError(f"{path} holds two adapters for one module, such as {twice[:3]}; keep one in the file")
    return found


def _place(key: str) -> tuple[str, Role] | None:
    """Module under diffusers' name, and role; None for what is no part of a LoRA."""
    if key.endswith(ALPHA):
        return strip_prefix(key.removesuffix(ALPHA)), "alpha"
    half = _HALF.fullmatch(key)
    return (strip_prefix(half[1]), HALVES[half[2]]) if half else None


HEADER = "lora_adapter_metadata"
HEADER_PREFIX = "transformer."
REFUSED = ("use_dora", "use_qalora")
"""peft options under which the tensors are no plain LoRA."""


@dataclass(frozen=True)
class AdapterHeader:
    """peft's settings of an adapter, as far as they decide what its tensors do."""

    alpha: float
    alphas: dict[str, float]
    """Of modules that differ, by module or its ending."""
    rank_stabilised: bool
    """alpha / sqrt(rank) instead of alpha / rank."""

    def scale(self, module: str, rank: int) -> float:
        named = (alpha for name, alpha in self.alphas.items() if _ends(module, name))
        return next(named, self.alpha) / (math.sqrt(rank) if self.rank_stabilised else rank)


def adapter_header(path: Path, metadata: Mapping[str, str], modules: Sequence[str]) -> AdapterHeader | None:
    """The header of a file for `modules`; None for a file without.

    Raises:
        CheckpointError: it is not what peft writes, names a module that is not in the file, or is no plain LoRA's.
    """
    if HEADER not in metadata:
        return None
    values = _values(path, metadata[HEADER])
    if refused := [name for name in REFUSED if values.get(name)]:
        raise CheckpointError(f"{path} has {refused} set in its {HEADER} header; a plain LoRA is wanted")
    alphas = values.get("alpha_pattern") or {}
    if unknown := [name for name in alphas if not any(_ends(module, name) for module in modules)]:
        raise CheckpointError(f"{path} names alphas in its {HEADER} header for {unknown[:3]}, which the file lacks")
    try:
        return AdapterHeader(
            alpha=float(values["lora_alpha"]),
            alphas={name: float(alpha) for name, alpha in alphas.items()},
            rank_stabilised=bool(values.get("use_rslora")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has no lora_alpha in its {HEADER} header ({error}); remove the header"
        ) from error


def _values(path: Path, text: str) -> dict[str, Any]:
    """Settings of the transformer's adapter, by peft's names."""
    try:
        values = parse_object(text)
    except ValueError as error:
        raise CheckpointError(
            f"{path} has a {HEADER} header that is no JSON object ({error}); remove the header"
        ) from error
    own = {name.removeprefix(HEADER_PREFIX): value for name, value in values.items() if name.startswith(HEADER_PREFIX)}
    return own or values


def _ends(module: str, name: str) -> bool:
    return f".{module}".endswith(f".{name}")


Shape = tuple[int, ...]
HALF_DTYPES = ("F32", "BF16", "F16")


def header_shapes(path: Path) -> dict[str, tuple[int, int]]:
    """[out, in] of the weights that a LoRA file changes, by module of diffusers' transformer.

    Raises:
        CheckpointError: the file is missing, torn, or no plain LoRA; names what is odd.
    """
    return {module: _shape(path, module, found) for module, found in parts(path, _entries(path)).items()}


def check_fits(path: Path, changed: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> None:
    """True if every weight that the LoRA at `path` changes is among `shapes`; both [out, in] by module.

    Raises:
        CheckpointError: a module is missing or of another shape; names the first ones.
    """
    if unknown := [module for module in changed if module not in shapes]:
        raise CheckpointError(
            f"{path} changes {len(unknown)} modules that are missing in this transformer, such as {unknown[:3]}; "
            f"use the LoRA with the model it was trained on"
        )
    for module, shape in changed.items():
        if shapes[module] != shape:
            raise CheckpointError(
                f"{path} changes {module} as a {list(shape)} layer, which is of shape {list(shapes[module])} in this "
                f"transformer; use the LoRA with the model generation it was trained on"
            )


def _entries(path: Path) -> dict[str, tuple[str, Shape]]:
    return {name: (entry.dtype, entry.shape) for name, entry in read_header(path).tensors.items()}


def _shape(path: Path, module: str, found: Mapping[Role, tuple[str, Shape]]) -> tuple[int, int]:
    if not {"down", "up"} <= found.keys():
        raise CheckpointError(f"{path} has only one of lora_A and lora_B for {module}; both are wanted")
    (down_dtype, down), (up_dtype, up) = found["down"], found["up"]
    if len(down) != 2 or len(up) != 2 or down[0] != up[1] or {down_dtype, up_dtype} - {*HALF_DTYPES}:
        raise CheckpointError(
            f"{path} has lora_A {down_dtype} {list(down)} and lora_B {up_dtype} {list(up)} for {module}; wanted are "
            f"[rank, in] and [out, rank] with equal ranks, as one of {', '.join(HALF_DTYPES)}"
        )
    return up[0], down[1]
