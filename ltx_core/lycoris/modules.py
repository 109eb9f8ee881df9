"""The library's modules: made for a layer, and what they do to it.

Their parameters, their start and their products are the library's. Not used is what it does to layers, which it calls
by replacing their `forward`: 8-bit and streamed weights, compiled blocks and CUDA graphs need a layer of our own. Its
fused kernels are not used either: they are picked by measuring, so that two runs would not round alike.
"""

import logging
from typing import Any

import torch
from lycoris.functional import locon, loha, lokr
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from torch.nn import functional

from ltx_core.flow_matching.random import named_generator
from ltx_core.lycoris.layers import LayerOptions, Shape
from ltx_core.lycoris.settings import Algorithm

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
