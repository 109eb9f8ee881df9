"""LyCORIS adapters on the transformer, by the library's modules beside frozen linear layers: put on, and taken off.

Their parameters, their start and their products are the library's. Not used is what it does to layers, which it calls
by replacing their `forward`: 8-bit and offloaded weights, compiled blocks and CUDA graphs need a layer of our own. Its
fused kernels are not used either: they are picked by measuring, so that two runs would not round alike.

The change is computed from the input and added to the frozen layer's output, W x + dW x, and not put into the weight:
so the frozen layer may be in 8 bits, or wait on the host until its block's turn. DoRA's weight m (W + dW) / |W + dW|,
with a length for each row, is s (W x + dW x) with s = m / |W + dW|: of W it needs the rows' lengths only. A file may
have d with s = d / |W| instead, which is what ComfyUI computes: `norm_of_frozen`.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lycoris.functional import locon, loha, lokr
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ltx_core.adapters.lycoris_layout import LayerOptions, Shape
from ltx_core.adapters.lycoris_settings import Algorithm
from ltx_core.engine.assemble import bring_weights, frozen_weight
from ltx_core.engine.projection import unrounded
from ltx_core.rng import named_generator

logging.getLogger("LyCORIS").setLevel(logging.ERROR)  # it prints what it is given to standard output
KINDS: dict[Algorithm, Any] = {"lora": LoConModule, "loha": LohaModule, "lokr": LokrModule}
REFERENCE = "torch"
"""The library's name for plain PyTorch."""


def new_module(
    name: str, shape: Shape, options: LayerOptions, *, seed: int, lengths: torch.Tensor | None = None
) -> torch.nn.Module:
    """A module for the layer `name` with a weight [out, in] of `shape`, on the CPU, in float32.

    It starts as the library starts it, with no change, but drawn from the seed and the layer's name. DoRA starts from
    the `lengths` [out] of the frozen weight's rows: the library would take the whole weight to the CPU for them.
    """
    out, into = shape
    stand_in = torch.nn.Linear(into, out, bias=False, device="meta")
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(named_generator("lycoris", seed, name).get_state())
        module = KINDS[options.algo](
            name,
            stand_in,
            lora_dim=options.dim,
            alpha=options.alpha,
            factor=options.factor,
            full_matrix=options.full_matrix,
            decompose_both=options.decompose_both,
            bypass_mode=True,
        )
    if options.dora:
        module.wd = module.wd_on_out = True
        module.dora_scale = torch.nn.Parameter((torch.ones(out) if lengths is None else lengths).view(out, 1))
    module.norm_of_frozen = False
    module.org_module, module.org_forward = [], None  # or it would keep the stand-in
    found: torch.nn.Module = module
    return found


def product(module: Any, x: torch.Tensor) -> torch.Tensor:
    """[..., in] to [..., out]: the module's change of the weight times x, in the dtype of x."""
    if isinstance(module, LohaModule):
        return functional.linear(x, weight_change(module).to(x.dtype))
    if isinstance(module, LoConModule):
        down, up = module.lora_down.weight.to(x.dtype), module.lora_up.weight.to(x.dtype)
        made: torch.Tensor = locon.bypass_forward_diff(x, None, down, up, None, gamma=module.scale, backend=REFERENCE)
        return made
    made = lokr.kron_bypass(x, *_kronecker(module, x.dtype), scale=module.scale, backend=REFERENCE)
    return made


def weight_change(module: Any) -> torch.Tensor:
    """[out, in] in float32: what the module adds to the weight, before any DoRA."""
    made: torch.Tensor
    if isinstance(module, LohaModule):
        halves = (module.hada_w1_b, module.hada_w1_a, module.hada_w2_b, module.hada_w2_a)
        one = module.scalar  # the library wants a tensor, and one made here would be copied from the host
        factors = (half.float() for half in halves)
        made = loha.diff_weight(*factors, None, None, gamma=one, backend=REFERENCE) * module.scale
    elif isinstance(module, LoConModule):
        down, up = module.lora_down.weight.float(), module.lora_up.weight.float()
        made = locon.diff_weight(down, up, None, gamma=module.scale, backend=REFERENCE)
    else:
        made = lokr.kron_weight(*_kronecker(module, torch.float32), scale=module.scale, backend=REFERENCE)
    return made


def _kronecker(module: Any, dtype: torch.dtype) -> list[torch.Tensor | None]:
    """Both factors, each whole or as a pair, in the library's order; its seventh is for convolutions."""
    names = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
    parts = (getattr(module, name, None) for name in names)
    return [*(None if part is None else part.to(dtype) for part in parts), None]


SMALLEST_LENGTH = torch.finfo(torch.float32).eps
"""Added to a row's length, as the library does."""


class LycorisLayer(torch.nn.Linear):
    """The layer that is called in place of `base_layer`. A torch.nn.Linear, so that peft finds it."""

    def __init__(self, base_layer: Any) -> None:
        torch.nn.Module.__init__(self)
        self.base_layer: Any = base_layer
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.modules_by_name = torch.nn.ModuleDict()
        self.strengths: dict[str, float] = {}
        self.active: tuple[str, ...] = ()
        """Adapters that work; the sum of their changes is added."""

    @property
    def weight(self) -> torch.nn.Parameter:  # type: ignore[override]  # the frozen layer's own, wherever it lies
        """The frozen layer's."""
        weight: torch.nn.Parameter = self.base_layer.weight
        return weight

    @property
    def bias(self) -> torch.nn.Parameter | None:  # type: ignore[override]  # as above
        """The frozen layer's."""
        return self.base_layer.bias

    def add(self, name: str, module: torch.nn.Module, strength: float) -> None:
        """Put a module beside the layer, switched on."""
        self.modules_by_name[name] = module
        self.strengths[name] = strength
        self.active = (*self.active, name)

    def remove(self, name: str) -> None:
        """Take a module away."""
        del self.modules_by_name[name], self.strengths[name]
        self.active = tuple(other for other in self.active if other != name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out] in the dtype of x."""
        whole = self.unrounded(x) if self.active else None
        if whole is not None:
            return whole.to(x.dtype)
        frozen: torch.Tensor = self.base_layer(x)
        return self._sum(x, frozen, frozen)

    def unrounded(self, x: torch.Tensor) -> torch.Tensor | None:
        """As `ltx_core.engine.projection.unrounded`."""
        whole = unrounded(self.base_layer, x)
        return None if whole is None else self._sum(x, whole.to(x.dtype), whole)

    def _sum(self, x: torch.Tensor, frozen: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """`out`, which is what the frozen layer gives, and all changes of it."""
        for name in self.active:
            change, strength = self._change(name, x, frozen), self.strengths[name]
            out = out + (change if strength == 1 else change * strength)
        return out

    def _change(self, name: str, x: torch.Tensor, frozen: torch.Tensor) -> torch.Tensor:
        """Of the output. Kept for the backward are the inputs alone: a change may be as large as the weight itself."""
        module: Any = self.modules_by_name[name]
        if not torch.is_grad_enabled():
            return self._compute(module, x, frozen)
        inputs = (x, frozen) if module.wd else (x,)
        made: torch.Tensor = checkpoint(self._compute, module, *inputs, use_reentrant=False, preserve_rng_state=False)
        return made

    def _compute(self, module: Any, x: torch.Tensor, frozen: torch.Tensor | None = None) -> torch.Tensor:
        added = product(module, x)
        if not module.wd or frozen is None:
            return added
        scale = self.row_factors(module)
        unbiased = frozen if self.bias is None else frozen - self.bias.to(frozen.dtype)
        return (scale - 1).to(x.dtype) * unbiased + scale.to(x.dtype) * added

    def row_factors(self, module: Any) -> torch.Tensor:
        """Return what DoRA multiplies each row of W + dW by: [out] in float32. Of an offloaded block: while it
        computes."""
        factors: torch.Tensor = module.dora_scale.float().flatten() / self.row_lengths(module, module.norm_of_frozen)
        return factors

    def row_lengths(self, module: Any, frozen: bool) -> torch.Tensor:
        """Lengths of the rows of W if `frozen`, else of W + dW: [out] in float32, none of them zero."""
        weight = frozen_weight(self.base_layer)
        made = torch.linalg.vector_norm(weight if frozen else weight + weight_change(module), dim=1)
        return made + SMALLEST_LENGTH


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
    """Return what is trained, as `<layer>.<the library's name>`, sorted by name."""
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
