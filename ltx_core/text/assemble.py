"""Build a text model on the meta device and fill it layer by layer, straight to where and how each is kept."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ltx_core.checkpoint.quantised.reader import Weight
from ltx_core.checkpoint.read import read_weights
from ltx_core.text.attention import PACKED

LAYERS = "layers."
Finish = Callable[[torch.nn.Module], object]
"""What is done with a layer once it is filled: quantising, streaming."""


def assemble(
    kind: Any, config: Any, weights: Mapping[str, Weight], *, device: str, dtype: torch.dtype, finish: Finish
) -> Any:
    """The frozen model with its layers finished; the device holds one unfinished layer at a time.

    `weights` are exactly the model's own: whoever calls compared them.
    """
    config._attn_implementation = PACKED
    with torch.device("meta"):
        model = kind(config)

    def read(prefix: str) -> dict[str, torch.Tensor]:
        chosen = {name: weight for name, weight in weights.items() if name.startswith(prefix)}
        tensors = read_weights(chosen, device=device, dtype=dtype)
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}

    outside = {name: weight for name, weight in weights.items() if not name.startswith(LAYERS)}
    for name, tensor in read_weights(outside, device=device, dtype=dtype).items():
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner).load_state_dict({leaf: tensor}, strict=True, assign=True)
    for index, layer in enumerate(model.layers):
        layer.load_state_dict(read(f"{LAYERS}{index}."), strict=True, assign=True)
        layer.requires_grad_(False)
        _make_buffers(model, layer, device)
        finish(layer)
    _make_buffers(model, model, device)
    return model.requires_grad_(False).eval()


@torch.no_grad()
def _make_buffers(model: Any, part: torch.nn.Module, device: str) -> None:
    """Buffers that no file holds, such as rotary frequencies: transformers computes them when it initialises weights.

    Weights that are there are marked as initialised, which is how transformers itself leaves loaded ones alone.
    """
    for module in part.modules():
        missing = {name: buffer for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta}
        if not missing:
            continue
        for tensor in module.parameters(recurse=False):
            tensor._is_hf_initialized = True  # type: ignore[attr-defined]  # transformers' own mark
        for name, buffer in missing.items():
            module._buffers[name] = torch.empty_like(buffer, device=device)
        model._init_weights(module)
