"""Linear layers with a LoRA beside them, in the base's dtype and with shared inputs read once."""

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear
from torch.nn import functional

from ltx_core.engine.dropout import KeyedDropout
from ltx_core.engine.low_precision import FrozenProduct


class AddedLora(Linear):
    """As peft's layer, bit for bit in float32; in shorter dtypes the sum of all is rounded once."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """[..., in] to [..., out] in the dtype of x."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        plain = not (args or kwargs or self.disable_adapters or self.merged or self.lora_variant)
        if not names or not plain or x.dtype == torch.float32:
            whole: torch.Tensor = super().forward(x, *args, **kwargs)
            return whole
        added = self._of(names[0], x)
        for name in names[1:]:
            added = added + self._of(name, x)
        return with_added(self.base_layer, x, added)

    def _of(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Return what one adapter adds, in the dtype of its weights."""
        down, up = self.lora_A[name], self.lora_B[name]
        cast = self._cast_input_dtype(x, down.weight.dtype)
        made: torch.Tensor = up(down(self.lora_dropout[name](cast))) * self.scaling[name]
        return made


def unrounded(layer: Any, x: torch.Tensor) -> torch.Tensor | None:
    """`layer(x)`, [..., D] to [..., N], in float32 as it was summed, for what an adapter adds to be rounded with it.

    None where that gains nothing or cannot be had: in float32, whose digits are enough, and of other kinds of layers.
    """
    if x.dtype == torch.float32:
        return None
    if hasattr(layer, "unrounded"):
        found: torch.Tensor | None = layer.unrounded(x)
        return found
    if type(layer) is not torch.nn.Linear or layer.weight.dtype != x.dtype:
        return None
    product = FrozenProduct.apply(x.reshape(-1, x.shape[-1]), layer.weight, None, None, True)
    whole: torch.Tensor = product if layer.bias is None else product + layer.bias
    return whole.view(*x.shape[:-1], layer.out_features)


def with_added(layer: Any, x: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """`layer(x)` and what an adapter adds, rounded once.

    An adapter that has only begun adds less than the last digit of what the layer gives. Added to a rounded result it
    is rounded away, and the loss of the first steps stands still; added before that, it counts on average.
    """
    whole = unrounded(layer, x)
    if whole is not None:
        return (whole + added).to(x.dtype)
    rounded: torch.Tensor = layer(x)
    return rounded + added


def project(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """`layer(x)`, [..., D] to [..., N]; a LoRA is computed in the dtype of `x` from its float32 weights."""
    return project_together((layer,), x)[0]


def project_together(layers: Sequence[Any], x: torch.Tensor) -> list[torch.Tensor]:
    """Several linear layers of one input; the down-projections of their LoRAs are one product, so x is read once.

    Layers without a LoRA, or with more than one or a switched-off one, go their own way, with equal meaning.
    """
    found = [_single_adapter(layer) for layer in layers]
    adapters = [name for name in found if name is not None]
    if len(adapters) < len(layers):
        return [layer(x) for layer in layers]
    parts = _hidden(layers, adapters, x)
    return [_up(layer, name, x, part) for layer, name, part in zip(layers, adapters, parts, strict=True)]


def _hidden(layers: Sequence[Any], adapters: Sequence[str], x: torch.Tensor) -> Sequence[torch.Tensor]:
    """Return what the down-projections make of x, by layer; with dropout each sees another part of it."""
    downs = [layer.lora_A[name].weight for layer, name in zip(layers, adapters, strict=True)]
    dropouts = [layer.lora_dropout[name] for layer, name in zip(layers, adapters, strict=True)]
    if any(isinstance(dropout, KeyedDropout) for dropout in dropouts):
        pairs = zip(downs, dropouts, strict=True)
        return [functional.linear(dropout(x), down.to(x.dtype)) for down, dropout in pairs]
    hidden = functional.linear(x, torch.cat(downs).to(x.dtype))
    return hidden.split([len(down) for down in downs], dim=-1)


def _up(layer: Any, name: str, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    up = layer.lora_B[name].weight.to(x.dtype)
    return with_added(layer.base_layer, x, functional.linear(hidden, up) * layer.scaling[name])


def _single_adapter(layer: Any) -> str | None:
    """The one adapter that works on `layer` and can be computed here: plain, on, not merged, no dropout but by keys."""
    if not isinstance(layer, LoraLayer) or layer.disable_adapters or layer.merged_adapters:
        return None
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(active) != 1 or active[0] in layer.lora_variant:
        return None
    plain = isinstance(layer.lora_dropout[active[0]], (torch.nn.Identity, KeyedDropout))
    return active[0] if plain else None
