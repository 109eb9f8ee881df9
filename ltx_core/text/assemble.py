"""Build a text model on the meta device and fill it layer by layer, straight to where and how each is kept.

Inputs are not quantised: Gemma's have outliers that row scales would drown the rest for. A pack has so many rows that
unpacking a weight costs a few per cent of the product that it is for.

Compiled once for all layers, because a pack has one shape. Equal to eager to rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch._dynamo
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ltx_core.checkpoint.read import read_weights
from ltx_core.checkpoint.stored import Weight
from ltx_core.engine.block_offload import BlockOffload
from ltx_core.engine.contiguous import HostArena

PACKED = "ltx2_packed_captions"
"""The name of this attention in transformers."""


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    runs: Sequence[tuple[int, int]],
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Query [1, H, T, D], key and value [1, G, T, D] to [1, T, H, D]; `runs` is `Pack.runs`. Filler gets zeros.

    Called by transformers' attention modules; `attention_mask` is None, since a pack says by itself who sees whom.
    """
    result = query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])
    start = 0
    for count, length in runs:
        end = start + count * length
        parts = (_captions(states[0, :, start:end], count) for states in (query, key, value))
        mask = _window(module, length, sliding_window, query.device)
        seen, _ = sdpa_attention_forward(module, *parts, mask, **_only(options, "dropout", "scaling"))
        result[0, start:end] = seen.flatten(0, 1)
        start = end
    return result, None


def _captions(states: Tensor, count: int) -> Tensor:
    """[H, count * S, D] to [count, H, S, D]."""
    return states.unflatten(1, (count, -1)).transpose(0, 1)


def _window(module: Any, length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Who sees whom in a caption longer than a sliding layer's window; None where causality says it all."""
    if window is None or length <= window:
        return None
    places = torch.arange(length, device=device)
    before = places[:, None] - places
    seen = before.abs() < window
    return (seen & (before >= 0) if module.is_causal else seen)[None, None]


def _only(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


AttentionInterface.register(PACKED, packed_attention)


LARGEST = 127


class Int8Linear(torch.nn.Module):
    """A frozen linear layer: int8 [N, K] and one scale for each of its N rows."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        values, scale = int8_rows(linear.weight.data)
        self.register_buffer("weight", values)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., K] to [..., N]."""
        product = functional.linear(inputs, self.weight.to(inputs.dtype)) * self.scale.to(inputs.dtype)
        return product if self.bias is None else product + self.bias


def int8_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[N, K] to int8 [N, K] and scales [N] in the weight's dtype, in which they are exact: a row is values times scale.

    The largest error of a value is half a scale, and a scale is a row's largest value over 127, a little more for its
    own rounding.
    """
    largest = weight.abs().amax(dim=1).float().clamp(min=torch.finfo(torch.bfloat16).tiny * LARGEST)
    scale = (largest / LARGEST).to(weight.dtype)
    values = (weight.float() / scale.float()[:, None]).round().clamp(-LARGEST, LARGEST)
    return values.to(torch.int8), scale


def hold_in_int8(layer: Any) -> int:
    """Replace every linear layer in a module by an `Int8Linear`; says how many."""
    replaced = 0
    for parent in list(layer.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(parent, name, Int8Linear(child))
                replaced += 1
    return replaced


quantise_linears = hold_in_int8
"""Its earlier name, for the modules that are not renamed yet."""


COMPILE_SECONDS = 7.0
"""Approximate seconds that it takes on the machine of docs/benchmarks.md."""
SAVED_SECONDS_PER_TOKEN = 1.36e-5
MOST_FORMS = 32
"""Kinds of modules and shapes among them; all count as one function to PyTorch, which gives up after 8 by itself."""
COMPILED = ("MLP", "RMSNorm")
"""Ends of the names of transformers' classes."""


def worth_compiling(num_tokens: int, wanted: bool | Literal["auto"], device: torch.device) -> bool:
    """`auto`: on a GPU, where what compiling saves for so many tokens is more than what it costs."""
    if wanted == "auto":
        return device.type == "cuda" and num_tokens * SAVED_SECONDS_PER_TOKEN > COMPILE_SECONDS
    return wanted


def compile_layers(model: Any) -> int:
    """Compile in place; says how many modules."""
    chosen = [module for module in model.layers.modules() if type(module).__name__.endswith(COMPILED)]
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_FORMS)
    for module in chosen:
        module.compile(fullgraph=True, dynamic=False)
    return len(chosen)


class LayerOffload:
    """Streams the layers that were handed to it, in order and over again; a hook brings each layer's weights."""

    def __init__(self, device: torch.device) -> None:
        self.blocks = BlockOffload(device, HostArena(pinned=device.type == "cuda"), order="round")

    def adopt(self, layer: torch.nn.Module) -> None:
        """Take a frozen layer's weights to the host; from now on they are on the device only while it computes."""
        index = len(self.blocks)
        self.blocks.adopt(index, layer)
        layer.register_forward_pre_hook(lambda _module, _inputs: self.blocks.enter(index))


def offload_layers(layers: Sequence[torch.nn.Module], device: torch.device) -> LayerOffload:
    """Hand over all of them."""
    offloaded = LayerOffload(device)
    for layer in layers:
        offloaded.adopt(layer)
    return offloaded


LAYERS = "layers."
Finish = Callable[[torch.nn.Module], object]
"""The treatment of a layer once it is filled: quantising, offload."""


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
