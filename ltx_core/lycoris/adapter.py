"""Put a LyCORIS adapter on the transformer, take it out of the way for a while, and take it off."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ltx_core.engine.frozen_weight import bring_weights, frozen_weight
from ltx_core.lycoris.layer import LycorisLayer
from ltx_core.lycoris.layers import LayerOptions
from ltx_core.lycoris.modules import new_module

UNDER_ANOTHER = ".base_layer"
"""Ending of a layer's name that lies under another adapter's."""


def add_lycoris(
    transformer: Any,
    layers: Mapping[str, LayerOptions],
    *,
    adapter: str,
    seed: int,
    strength: float = 1.0,
    measure: bool = True,
) -> None:
    """Add an adapter to the named linear layers, switched on. Weights are float32 whatever the base is.

    DoRA's lengths are measured on the frozen weights, one block after another; not for a file, which has them.
    """
    for name, options in layers.items():
        layer = _adaptable(transformer, name)
        lengths = None
        if options.dora and measure:
            bring_weights(transformer, name)
            lengths = torch.linalg.vector_norm(frozen_weight(layer), dim=1).cpu()
        shape = (layer.out_features, layer.in_features)
        module = new_module(name, shape, options, seed=seed, lengths=lengths)
        layer.add(adapter, module.to(layer.weight.device), strength)


def adapted_layers(transformer: torch.nn.Module, adapter: str) -> dict[str, LycorisLayer]:
    """Layers that have this adapter, by name."""
    return {name: layer for name, layer in _all_layers(transformer).items() if adapter in layer.modules_by_name}


def lycoris_parameters(transformer: torch.nn.Module, adapter: str) -> dict[str, torch.nn.Parameter]:
    """What is trained, as `<layer>.<the library's name>`, sorted by name."""
    found = {
        f"{name}.{tensor}": parameter
        for name, layer in adapted_layers(transformer, adapter).items()
        for tensor, parameter in layer.modules_by_name[adapter].named_parameters()
    }
    return dict(sorted(found.items()))


@contextmanager
def only(transformer: torch.nn.Module, *adapters: str) -> Iterator[None]:
    """These adapters alone, or none, for the length of the block."""
    before = {layer: layer.active for layer in _all_layers(transformer).values()}
    for layer in before:
        layer.active = tuple(name for name in adapters if name in layer.modules_by_name)
    try:
        yield
    finally:
        for layer, active in before.items():
            layer.active = tuple(name for name in active if name in layer.modules_by_name)


def remove_lycoris(transformer: torch.nn.Module, adapter: str) -> None:
    """Take an adapter off; a layer without any is the frozen one again."""
    for name, layer in adapted_layers(transformer, adapter).items():
        layer.remove(adapter)
        if not layer.modules_by_name:
            _replace(transformer, name, layer, layer.base_layer)


def _all_layers(transformer: torch.nn.Module) -> dict[str, LycorisLayer]:
    layers = ((name, module) for name, module in transformer.named_modules() if isinstance(module, LycorisLayer))
    return {name.removesuffix(UNDER_ANOTHER): layer for name, layer in layers}


def _adaptable(transformer: torch.nn.Module, name: str) -> LycorisLayer:
    """The layer by that name with room for modules; under peft's, so that both change the frozen output alone."""
    found: Any = transformer.get_submodule(name)
    while not isinstance(found, LycorisLayer) and hasattr(found, "base_layer"):
        found = found.base_layer
    if isinstance(found, LycorisLayer):
        return found
    layer = LycorisLayer(found)
    _replace(transformer, name, found, layer)
    return layer


def _replace(transformer: torch.nn.Module, name: str, old: torch.nn.Module, new: torch.nn.Module) -> None:
    """Put `new` where `old` lies, at `name` or under the adapters there."""
    parent, _, attribute = name.rpartition(".")
    owner: Any = transformer.get_submodule(parent)
    while getattr(owner, attribute) is not old:
        owner, attribute = getattr(owner, attribute), "base_layer"
    setattr(owner, attribute, new)
