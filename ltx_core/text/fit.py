"""Memory of a text encoder on a device, from headers; captions packed without padding. No torch.

Every pack has the same number of tokens whatever it holds: the last captions are followed by filler, which nothing
attends to. Matrix products of one shape run the same kernel, whose sums do not depend on the row, so a caption's
features are the same bits in any pack. (Batches of other sizes give other last bits in bfloat16.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from ltx_core.checkpoint.text_encoder import StoredTextEncoder
from ltx_core.errors import ConfigError

if TYPE_CHECKING:
    import torch


LAYERS = "layers."
TEMPORARIES = 1.5
"""Of a pack's hidden states, for what a layer and the features make beside them."""


def must_stream(
    stored: StoredTextEncoder, free_bytes: int, *, dtype: "torch.dtype", int8: bool, pack_tokens: int
) -> bool:
    """Return whether the weights and the work on a pack take more than what the device has left."""
    return needed_bytes(stored, item_bytes=dtype.itemsize, int8=int8, pack_tokens=pack_tokens) > free_bytes


def needed_bytes(stored: StoredTextEncoder, *, item_bytes: int, int8: bool, pack_tokens: int) -> int:
    """Return what an encoder takes on its device when nothing is streamed: weights, all hidden states, temporaries.

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
    return weights + round(TEMPORARIES * states)


PACK_TOKENS = 4096
"""About twenty captions of 200 tokens: enough rows to keep a GPU's matrix units busy."""


@dataclass(frozen=True)
class Pack:
    """Captions that are computed at once."""

    captions: tuple[int, ...]
    """Which, by their place among all; shortest first."""
    lengths: tuple[int, ...]
    """Their tokens."""
    num_tokens: int
    """Of the pack; what captions leave is filler."""

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(how many, how long): captions of equal length that follow one another, one batch for the attention."""
        return [(len(list(same)), length) for length, same in groupby(self.lengths)]


def pack_captions(lengths: Sequence[int], num_tokens: int = PACK_TOKENS) -> list[Pack]:
    """Captions by length, then by place, cut into packs wherever the next one would not fit.

    Raises:
        ConfigError: a caption is longer than a pack.
    """
    if lengths and max(lengths) > num_tokens:
        raise ConfigError(f"a caption of {max(lengths)} tokens does not fit a pack of {num_tokens}; make packs larger")
    packs: list[list[int]] = []
    left = 0
    for place in sorted(range(len(lengths)), key=lambda place: (lengths[place], place)):
        if lengths[place] > left or not packs:
            packs.append([])
            left = num_tokens
        packs[-1].append(place)
        left -= lengths[place]
    return [Pack(tuple(places), tuple(lengths[place] for place in places), num_tokens) for places in packs]
