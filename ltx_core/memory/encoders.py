"""Memory of the encoders of texts and of frames, by arithmetic from their headers. No torch."""

import math

from ltx_core.checkpoint.text_encoder import StoredTextEncoder
from ltx_core.memory.plan import Estimate

LAYERS = "layers."
TEMPORARIES = 1.5
"""Of a pack's hidden states, for what a layer and the features make beside them."""
KEPT_WIDTHS = 16
"""Values of a token in a layer of a frame encoder at its fullest, in model widths: itself, its norm, query, key, value,
result, and the two halves of the feed-forward."""


def text_encoder_memory(stored: StoredTextEncoder, *, item_bytes: int, int8: bool, pack_tokens: int) -> Estimate:
    """The memory of a text encoder whose layers all stay on the device: weights, all hidden states, temporaries.

    Raises:
        CheckpointError: its config lacks a size.
    """
    weights = 0
    for name, tensor in stored.weights.items():
        in_8_bits = int8 and name.startswith(LAYERS) and len(tensor.shape) == 2
        weights += math.prod(tensor.shape) * (1 if in_8_bits else item_bytes)
    width, layers = stored.size("hidden_size"), stored.size("num_hidden_layers")
    feed_forward = 3 * stored.size("intermediate_size")
    states = pack_tokens * (width * (layers + 1) + feed_forward) * item_bytes
    return Estimate({"weights": weights, "hidden states": round(TEMPORARIES * states)}, frozenset({"weights"}))


def frame_encoder_memory(num_weights: int, width: int, *, num_tokens: int, item_bytes: int) -> Estimate:
    """The memory of a vision encoder: weights, and one layer's work on the tokens that are computed at once."""
    work = num_tokens * width * KEPT_WIDTHS * item_bytes
    return Estimate({"weights": num_weights * item_bytes, "one layer's work": work}, frozenset({"weights"}))
