"""Draw random weights of sensible scale, and store tensors with the same bytes every time."""

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ltx_core.io.atomic import atomic_path

BIAS_SPREAD = 0.02
OTHER_SPREAD = 0.1
"""Norm gains, gates, tables and registers keep what their class starts them with, moved by this much: no zero stays."""
DTYPE_NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.uint8: "U8"}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside; the caller's random state is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def draw(module: nn.Module) -> None:
    """Fill every parameter so that signals keep their size: linear and convolution weights at 1 / sqrt(fan in).

    The classes' own starting values shrink signals layer by layer until biases drown them, which training repairs;
    here nothing is trained.
    """
    scaled: set[Tensor] = set()
    for layer in module.modules():
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d):
            continue
        layer.weight.normal_(0, fan_in(layer) ** -0.5)
        scaled.add(layer.weight)
        if layer.bias is not None:
            layer.bias.normal_(0, BIAS_SPREAD)
            scaled.add(layer.bias)
    for parameter in module.parameters():
        if parameter not in scaled:
            parameter.add_(torch.randn_like(parameter), alpha=OTHER_SPREAD)


def fan_in(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d) -> float:
    """Input values that each output value sums over."""
    if isinstance(layer, nn.ConvTranspose1d):
        return layer.in_channels * layer.kernel_size[0] / layer.stride[0]
    return layer.weight[0].numel()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, tensors and metadata in the order of their names.

    The safetensors library writes metadata in an order that changes from run to run.

    Raises:
        StorageError: the disk is full or read-only.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    chunks, end = [], 0
    for name, tensor in sorted(tensors.items()):
        data = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(data)],
        }
        chunks.append(data)
        end += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants data aligned
    with atomic_path(path) as partial:
        partial.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))
