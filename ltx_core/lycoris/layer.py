"""A frozen linear layer with LyCORIS modules beside it.

The change is computed from the input and added to the frozen layer's output, W x + dW x, and not put into the weight:
so the frozen layer may be in 8 bits, or wait on the host until its block's turn. DoRA's weight m (W + dW) / |W + dW|,
with a length for each row, is s (W x + dW x) with s = m / |W + dW|: of W it needs the rows' lengths only. A file may
have d with s = d / |W| instead, which is what ComfyUI computes: `norm_of_frozen`.
"""

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ltx_core.engine.frozen_weight import frozen_weight
from ltx_core.engine.projection import unrounded
from ltx_core.lycoris.modules import product, weight_change

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
        """What DoRA multiplies each row of W + dW by: [out] in float32. Of a streamed block: while it computes."""
        factors: torch.Tensor = module.dora_scale.float().flatten() / self.row_lengths(module, module.norm_of_frozen)
        return factors

    def row_lengths(self, module: Any, frozen: bool) -> torch.Tensor:
        """Lengths of the rows of W if `frozen`, else of W + dW: [out] in float32, none of them zero."""
        weight = frozen_weight(self.base_layer)
        made = torch.linalg.vector_norm(weight if frozen else weight + weight_change(module), dim=1)
        return made + SMALLEST_LENGTH
