"""LoRA on the transformer: which layers it changes, how it starts, and how it is taken out of the way."""

import math
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer

from ltx_core.adapters.lora_layout import OnlyStream, target_layers
from ltx_core.engine.dropout import KeyedDropout
from ltx_core.engine.projection import AddedLora
from ltx_core.errors import ConfigError
from ltx_core.rng import named_generator

OF_ADAPTER = re.compile(r"\.(lora_|modules_by_name\.)")
"""Found in the names of an adapter's own layers, peft's or the LyCORIS library's."""


def target_modules(
    transformer: torch.nn.Module,
    targets: str | Sequence[str],
    *,
    only: OnlyStream | None = None,
    blocks: Collection[int] | None = None,
) -> list[str]:
    """Names of the linear layers that `targets` means, sorted.

    `targets` is a preset (`video`, `audio`, `audio+video`: the attention projections of those streams, the last with
    the attention between them; `ff`, `audio_ff`: the feed-forward layers; `all-linear`: all of these) or a list of
    presets and suffixes of module names, matched at dots: `attn1.to_q` is video's alone, `to_q` every attention's.
    Names are diffusers' or Lightricks' (`proj_in` or `patchify_proj`). With `only`, layers of this stream alone
    are meant, which work without the other. With `blocks`, none outside of these.

    Raises:
        ConfigError: an unknown preset, a target that matches no layer, or a block that is not there.
    """
    return target_layers(linear_layers(transformer), targets, only=only, blocks=blocks)


def linear_layers(transformer: torch.nn.Module) -> list[str]:
    """Names of linear layers, as they were before any adapter wrapped them, sorted."""
    return list(linear_shapes(transformer))


def linear_shapes(transformer: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """[out, in] of these layers by their names, sorted."""
    layers = ((name, module) for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear))
    found = {
        name.replace(".base_layer", ""): (layer.out_features, layer.in_features)
        for name, layer in layers
        if not OF_ADAPTER.search(name)
    }
    return dict(sorted(found.items()))


ADAPTER = "default"
"""Name of the adapter that is trained."""


def add_lora(
    transformer: Any,
    modules: Sequence[str],
    *,
    rank: int,
    alpha: float,
    seed: int | None,
    adapter: str = ADAPTER,
    ranks: Mapping[str, int] | None = None,
    dropout: float = 0.0,
) -> None:
    """Add a LoRA to the named linear layers and freeze all else. Weights are float32 whatever the base is.

    B starts at zero, so the model starts as its base. A starts uniform in +-1/sqrt(in_features), as peft's default,
    but drawn from the seed and the layer's name: neither the global generator nor the other targets change it. Without
    a seed the weights are left on the meta device, to be replaced.
    `ranks` are those of modules that differ from `rank`; all are scaled by alpha / rank. `dropout` is the fraction of a
    layer's input that it does not see, once `set_dropout_key` has named the samples.

    Raises:
        ConfigError: the adapter landed on other layers than those named.
    """
    other = {module: own for module, own in (ranks or {}).items() if own != rank}
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=list(modules),
        rank_pattern=other,
        alpha_pattern={module: alpha / rank * own for module, own in other.items()},
        lora_dropout=0.0,
        bias="none",
        init_lora_weights=False,
    )
    config._register_custom_module({torch.nn.Linear: AddedLora})
    with torch.device("meta"), warnings.catch_warnings():  # no memory yet, and no numbers drawn: ours come below
        warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)  # a second one is meant
        transformer.add_adapter(config, adapter_name=adapter)
    layers = lora_layers(transformer, adapter)
    if sorted(layers) != sorted(modules):
        odd = sorted(set(layers) ^ set(modules))
        raise ConfigError(f"the adapter fits {len(layers)} layers, {len(modules)} were named; they differ in {odd[:4]}")
    for name, layer in layers.items():
        if seed is not None:
            _initialise(layer, adapter, named_generator("lora", seed, name))
        if dropout:
            layer.lora_dropout[adapter] = KeyedDropout(dropout, name)


def lora_layers(transformer: torch.nn.Module, adapter: str = ADAPTER) -> dict[str, LoraLayer]:
    """Adapted layers by module name."""
    return {
        name: module
        for name, module in transformer.named_modules()
        if isinstance(module, LoraLayer) and adapter in module.lora_A
    }


def lora_parameters(transformer: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return what is trained, by `<module>.lora_A.weight` and `<module>.lora_B.weight`, sorted by name."""
    parameters = {}
    for name, layer in lora_layers(transformer).items():
        parameters[f"{name}.lora_A.weight"] = layer.lora_A[ADAPTER].weight
        parameters[f"{name}.lora_B.weight"] = layer.lora_B[ADAPTER].weight
    return dict(sorted(parameters.items()))


@contextmanager
def without_lora(transformer: Any) -> Iterator[None]:
    """The base model for the length of the block, adapters off."""
    transformer.disable_adapters()
    try:
        yield
    finally:
        transformer.enable_adapters()


def _initialise(layer: LoraLayer, adapter: str, generator: torch.Generator) -> None:
    """Give the adapter's weights memory beside the frozen ones, and their start.

    Numbers are drawn on the CPU, the same whatever the device; the rest is exact or rounded alike on all.
    """
    down, up = layer.lora_A[adapter], layer.lora_B[adapter]
    device = layer.get_base_layer().weight.device
    start = torch.rand(down.weight.shape, generator=generator).to(device)
    start.mul_(2).sub_(1).mul_(1 / math.sqrt(down.weight.shape[1]))
    down.weight = torch.nn.Parameter(start, requires_grad=down.weight.requires_grad)
    up.weight = torch.nn.Parameter(torch.zeros(up.weight.shape, device=device), requires_grad=up.weight.requires_grad)
