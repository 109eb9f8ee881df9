"""LyCORIS files: written in the one layout that ComfyUI loads for LTX-2; read in every common one.

Layout: `diffusion_model.<module>.<the library's name>`, modules under Lightricks' names, factors in bf16, `alpha` and
`dora_scale` in float32. ComfyUI has no other names of this model but these and `lora_unet_`; the library itself wants
`lycoris_` and underscores (`library_tensors`). Scale and multiplier are folded into a factor and alpha is the rank:
the library (4.1.3) merges LoHa and LoKr with alpha / rank squared, where it trains with alpha / rank.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ltx_core.errors import CheckpointError
from ltx_core.files.tensors import read_tensors
from ltx_core.lora.layout import PREFIX, original_name, strip_prefix
from ltx_core.lycoris.adapter import adapted_layers, add_lycoris
from ltx_core.lycoris.layout import ALPHA, DORA, lycoris_parts, options_of, split_key

WHOLE_PRECISION = (ALPHA, DORA)
"""A row's length times 2^-9, which bf16 rounds by, is more than training changes it by."""
LINEAR = ("lora_up.weight", "hada_w1_a", "lokr_w1", "lokr_w1_a")
"""The tensors, one of each algorithm, that the change is linear in, and that its scale is folded into."""
STARTS_AT_ZERO = ("lora_up.weight", "hada_w2_a", "lokr_w2", "lokr_w2_b")
LIBRARY_PREFIX = "lycoris_"


def export_lycoris(transformer: torch.nn.Module, adapter: str) -> dict[str, torch.Tensor]:
    """The adapter as a file holds it."""
    tensors = {}
    for name, layer in adapted_layers(transformer, adapter).items():
        module: Any = layer.modules_by_name[adapter]
        scale, key = module.scale * layer.strengths[adapter], f"{PREFIX}{original_name(name)}."
        for own, tensor in module.state_dict().items():
            value = tensor.detach().float() * (scale if own in LINEAR else 1)
            tensors[key + own] = value.to("cpu", torch.float32 if own in WHOLE_PRECISION else torch.bfloat16)
        tensors[key + ALPHA] = torch.tensor(float(module.lora_dim))
    return tensors


def library_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a file of ours under the names that `lycoris.create_lycoris_from_weights` finds in diffusers'
    transformer."""
    named = {}
    for key, tensor in tensors.items():
        module, own = split_key(key)
        named[f"{LIBRARY_PREFIX}{strip_prefix(module).replace('.', '_')}.{own}"] = tensor
    return named


def check_lycoris(tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse an adapter that is broken or does nothing.

    Raises:
        CheckpointError: a weight is NaN or infinite, or everything that starts at zero is there still.
    """
    if broken := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise CheckpointError(
            f"{len(broken)} of {len(tensors)} LyCORIS tensors hold NaN or infinity, the first is {broken[0]}; finite "
            f"weights are wanted. Train again with a lower learning_rate or max_grad_norm."
        )
    if not any(bool(tensor.any()) for name, tensor in tensors.items() if name.endswith(STARTS_AT_ZERO)):
        raise CheckpointError(
            "every factor that starts at zero is zero: the adapter would change nothing. Train for more steps or with "
            "a higher learning_rate."
        )


def load_lycoris(
    path: Path, transformer: Any, *, adapter: str, strength: float = 1.0, dtype: torch.dtype | None = None
) -> dict[str, str]:
    """Put a LyCORIS file of any layout that `lycoris_parts` knows on the transformer, its change scaled by `strength`.

    Its weights are float32, as in training, or of another `dtype`. Gives the header strings of the file.

    Raises:
        CheckpointError: the file is not understood, or changes a layer that the transformer does not have.
    """
    tensors, metadata = read_tensors(path)
    shapes = _linear_shapes(transformer)
    found = lycoris_parts(path, tensors, shapes)
    layers = {}
    for module, parts in found.items():
        if odd := [name for name, part in parts.items() if not _is_sound(part)]:
            raise CheckpointError(f"{path} has {odd} for {module} that are no finite float numbers; make it again")
        alpha = float(parts[ALPHA].item()) if ALPHA in parts else None
        own = {name: tuple(part.shape) for name, part in parts.items()}
        layers[module] = options_of(path, module, own, shapes[module], alpha)
    add_lycoris(transformer, layers, adapter=adapter, seed=0, strength=strength, measure=False)
    for name, layer in adapted_layers(transformer, adapter).items():
        for own_name, parameter in layer.modules_by_name[adapter].named_parameters():
            parameter.requires_grad_(False)
            kept = torch.float32 if own_name in WHOLE_PRECISION else dtype or parameter.dtype
            parameter.data = found[name][own_name].to(parameter.device, kept)
    return metadata


def _is_sound(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and bool(torch.isfinite(tensor).all())


def _linear_shapes(transformer: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """[out, in] of the linear layers, by the names that they have without adapters."""
    layers = ((n, m) for n, m in transformer.named_modules() if isinstance(m, torch.nn.Linear) and ".lora_" not in n)
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in layers:
        if "modules_by_name" not in name:
            found[_outermost(name)] = (layer.out_features, layer.in_features)
    return found


def _outermost(name: str) -> str:
    while name.endswith(".base_layer"):
        name = name.removesuffix(".base_layer")
    return name
