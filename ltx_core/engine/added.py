"""peft's LoRA beside a linear layer, added to its result before that is rounded."""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear

from ltx_core.engine.projection import with_added


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
        """What one adapter adds, in the dtype of its weights."""
        down, up = self.lora_A[name], self.lora_B[name]
        cast = self._cast_input_dtype(x, down.weight.dtype)
        made: torch.Tensor = up(down(self.lora_dropout[name](cast))) * self.scaling[name]
        return made
