"""Whether a text encoder fits a device, told from its headers before it is loaded. No torch."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ltx_core.checkpoint.text_encoder import open_text_encoder

if TYPE_CHECKING:
    import torch

LAYERS = "layers."
TEMPORARIES = 1.5
"""Of a pack's hidden states, for what a layer and the features make beside them."""


def must_stream(path: Path, free_bytes: int, *, dtype: "torch.dtype", int8: bool, pack_tokens: int) -> bool:
    """Whether the weights and the work on a pack take more than what the device has left."""
    return needed_bytes(path, item_bytes=dtype.itemsize, int8=int8, pack_tokens=pack_tokens) > free_bytes


def needed_bytes(path: Path, *, item_bytes: int, int8: bool, pack_tokens: int) -> int:
    """What an encoder takes on its device when nothing is streamed: weights, all hidden states, temporaries.

    Raises:
        CheckpointError: it is incomplete or of an unknown kind.
    """
    stored = open_text_encoder(path)
    weights = 0
    for name, tensor in stored.weights.items():
        in_8_bits = int8 and name.startswith(LAYERS) and len(tensor.shape) == 2
        weights += math.prod(tensor.shape) * (1 if in_8_bits else item_bytes)
    width, layers = stored.size("hidden_size"), stored.size("num_hidden_layers")
    feed_forward = 3 * stored.size("intermediate_size")
    states = pack_tokens * (width * (layers + 1) + feed_forward) * item_bytes
    return weights + round(TEMPORARIES * states)
