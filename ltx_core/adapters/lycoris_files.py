"""LyCORIS files: written in the one layout that ComfyUI loads for LTX-2; read in every common one.

Layout: `diffusion_model.<module>.<the library's name>`, modules under Lightricks' names, factors in bf16, `alpha` and
`dora_scale` in float32. ComfyUI has no other names of this model but these and `lora_unet_`; the library itself wants
`lycoris_` and underscores (`library_tensors`). Scale and multiplier are folded into a factor and alpha is the rank:
the library (4.1.3) merges LoHa and LoKr with alpha / rank squared, where it trains with alpha / rank.

DoRA: ComfyUI's weight is dora_scale (W + dW) / |W|, where the paper, the library and training here divide by |W + dW|,
which is 4 to 21 % off. So what is written is the trained length times |W| / |W + dW|: ComfyUI then has the trained
weight. The header says so (`NORM_OF_FROZEN`), since no tensor does.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from ltx_core.adapters.lora import ADAPTER, linear_shapes
from ltx_core.adapters.lora_files import check_tensors
from ltx_core.adapters.lora_layout import PREFIX, original_name
from ltx_core.adapters.lycoris import (
    LycorisLayer,
    adapted_layers,
    add_lycoris,
    lycoris_parameters,
    only,
    remove_lycoris,
)
from ltx_core.adapters.lycoris_layout import ALPHA, DORA, NORM_OF_FROZEN, LayerOptions, lycoris_parts, options_of
from ltx_core.engine.assemble import bring_weights
from ltx_core.errors import CheckpointError
from ltx_core.io.tensors import read_tensors

WHOLE_PRECISION = (ALPHA, DORA)
"""A row's length times 2^-9, which bf16 rounds by, is more than training changes it by."""
LINEAR = ("lora_up.weight", "hada_w1_a", "lokr_w1", "lokr_w1_a")
"""The tensors, one of each algorithm, that the change is linear in, and that its scale is folded into."""
STARTS_AT_ZERO = ("lora_up.weight", "hada_w2_a", "lokr_w2", "lokr_w2_b")
LIBRARY_PREFIX = "lycoris_"
FOR_LIBRARY = "for-library"
"""Name of an adapter while it is turned into the library's tensors."""


@torch.no_grad()
def export_lycoris(transformer: torch.nn.Module, adapter: str) -> dict[str, torch.Tensor]:
    """The adapter as a file holds it, whose header wants `NORM_OF_FROZEN` if it is a DoRA."""
    tensors: dict[str, torch.Tensor] = {}
    for name, layer in adapted_layers(transformer, adapter).items():
        stored = _stored(transformer, name, layer, adapter, norm_of_frozen=True)
        tensors |= {f"{PREFIX}{original_name(name)}.{own}": tensor for own, tensor in stored.items()}
    return tensors


@torch.no_grad()
def library_tensors(path: Path, transformer: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a file as `lycoris.create_lycoris_from_weights` takes them for diffusers' `transformer`: under its
    names, and DoRA's lengths as the library means them, for which the frozen weights are read.

    Raises:
        CheckpointError: as `load_lycoris`.
    """
    named: dict[str, torch.Tensor] = {}
    try:
        load_lycoris(path, transformer, adapter=FOR_LIBRARY)
        for name, layer in adapted_layers(transformer, FOR_LIBRARY).items():
            stored = _stored(transformer, name, layer, FOR_LIBRARY, norm_of_frozen=False)
            named |= {f"{LIBRARY_PREFIX}{name.replace('.', '_')}.{own}": tensor for own, tensor in stored.items()}
    finally:
        remove_lycoris(transformer, FOR_LIBRARY)
    return named


def _stored(
    transformer: torch.nn.Module, name: str, layer: LycorisLayer, adapter: str, *, norm_of_frozen: bool
) -> dict[str, torch.Tensor]:
    """One layer's tensors on the CPU, by the library's names."""
    module: Any = layer.modules_by_name[adapter]
    scale = module.scale * layer.strengths[adapter]
    stored = {}
    for own, tensor in module.state_dict().items():
        value = tensor.detach().float() * (scale if own in LINEAR else 1)
        if own == DORA and module.norm_of_frozen != norm_of_frozen:
            bring_weights(transformer, name)
            value = (layer.row_factors(module) * layer.row_lengths(module, norm_of_frozen)).view_as(value)
        stored[own] = value.to("cpu", torch.float32 if own in WHOLE_PRECISION else torch.bfloat16)
    stored[ALPHA] = torch.tensor(float(module.lora_dim))
    return stored


def load_lycoris(
    path: Path, transformer: Any, *, adapter: str, strength: float = 1.0, dtype: torch.dtype | None = None
) -> dict[str, str]:
    """Put a LyCORIS file of any layout that `lycoris_parts` knows on the transformer, its change scaled by `strength`.

    Its weights are float32, as in training, or of another `dtype`. Gives the header strings of the file.

    Raises:
        CheckpointError: the file is not understood, or changes a layer that the transformer does not have.
    """
    tensors, metadata = read_tensors(path)
    shapes = linear_shapes(transformer)
    found = lycoris_parts(path, tensors, shapes)
    layers = {}
    for module, parts in found.items():
        if odd := [name for name, part in parts.items() if not _is_audio(part)]:
            raise CheckpointError(f"{path} has {odd} for {module} that are no finite float numbers; make it again")
        alpha = float(parts[ALPHA].item()) if ALPHA in parts else None
        own = {name: tuple(part.shape) for name, part in parts.items()}
        layers[module] = options_of(path, module, own, shapes[module], alpha)
    add_lycoris(transformer, layers, adapter=adapter, seed=0, strength=strength, measure=False)
    norm_of_frozen = metadata.items() >= NORM_OF_FROZEN.items()
    for name, layer in adapted_layers(transformer, adapter).items():
        added: Any = layer.modules_by_name[adapter]
        added.norm_of_frozen = norm_of_frozen
        for own_name, parameter in added.named_parameters():
            parameter.requires_grad_(False)
            kept = torch.float32 if own_name in WHOLE_PRECISION else dtype or parameter.dtype
            parameter.data = found[name][own_name].to(parameter.device, kept)
    return metadata


def _is_audio(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and bool(torch.isfinite(tensor).all())


RELOADED = "reloaded"
"""Name of the adapter that a file is tried as."""


class TrainedLycoris:
    """Modules of the library beside frozen layers. See `ltx_core.adapters.trained.TrainedAdapter`."""

    def __init__(self, transformer: Any, layers: Mapping[str, LayerOptions], *, seed: int, multiplier: float) -> None:
        """Puts it on the transformer, at its start."""
        self.transformer = transformer
        add_lycoris(transformer, layers, adapter=ADAPTER, seed=seed, strength=multiplier)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """As the protocol says."""
        return lycoris_parameters(self.transformer, ADAPTER)

    def switched_off(self) -> AbstractContextManager[None]:
        """As the protocol says."""
        return only(self.transformer)

    def exported(self) -> dict[str, torch.Tensor]:
        """As the protocol says."""
        return export_lycoris(self.transformer, ADAPTER)

    def check(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """As the protocol says."""
        check_tensors(tensors, STARTS_AT_ZERO, "factor that starts at zero")

    @contextmanager
    def replaced_by(self, path: Path) -> Iterator[None]:
        """As the protocol says."""
        load_lycoris(path, self.transformer, adapter=RELOADED)
        try:
            with only(self.transformer, RELOADED):
                yield
        finally:
            remove_lycoris(self.transformer, RELOADED)
