"""Whether a text encoder fits a checkpoint and a device, from headers; captions packed without padding. No torch.

Every pack has the same number of tokens whatever it holds: the last captions are followed by filler, which nothing
attends to. Matrix products of one shape run the same kernel, whose sums do not depend on the row, so a caption's
features are the same bits in any pack. (Batches of other sizes give other last bits in bfloat16.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ltx_core.checkpoint.complete import check_text_encoder
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.text_encoder import StoredTextEncoder, open_text_encoder
from ltx_core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import torch


KINDS = {"2.0": "gemma3", "2.3": "gemma3", "2.5": "gemma4_unified"}


def fits(checkpoint: Checkpoint, text_encoder: Path) -> None:
    """Hold the encoder, a folder or a packed file, against what the checkpoint was trained with.

    LTX-2.5 names its Gemma in its header; a Gemma of the same sizes by Google gives other hidden states. The text
    projection takes the states of all layers and of the embedding, so hidden_size * (num_hidden_layers + 1) wide.

    Raises:
        CheckpointError: the encoder is incomplete (tensors included), of another kind or version, or of another width.
    """
    encoder = open_text_encoder(text_encoder)
    _same_gemma(checkpoint, encoder)
    hidden, layers = encoder.size("hidden_size"), encoder.size("num_hidden_layers")
    shapes = checkpoint.shapes("text_projection")
    wanted = {shape[1] for name, shape in shapes.items() if name.endswith(".weight")}
    if wanted != {hidden * (layers + 1)}:
        raise CheckpointError(
            f"the text encoder in {text_encoder} gives {hidden} x ({layers} + 1) = {hidden * (layers + 1)} "
            f"values a token and the text projection in {checkpoint.path} takes {' or '.join(map(str, wanted))}. "
            f"{_advice(checkpoint)}"
        )
    check_text_encoder(encoder)


def _same_gemma(checkpoint: Checkpoint, encoder: StoredTextEncoder) -> None:
    kind = KINDS[checkpoint.generation]
    wanted = checkpoint.gemma_version or ("one of Lightricks' own" if checkpoint.generation == "2.5" else None)
    same = encoder.gemma_version == wanted
    if checkpoint.gemma_version is None and checkpoint.generation == "2.5":
        same = encoder.gemma_version is not None
    if encoder.kind != kind or not same:
        raise CheckpointError(
            f"{encoder.path} holds {encoder.kind}, version {encoder.gemma_version or 'of Google'}; the LTX-"
            f"{checkpoint.generation} checkpoint {checkpoint.path} was trained with {kind}, version "
            f"{wanted or 'of Google'}. {_advice(checkpoint)}"
        )


def _advice(checkpoint: Checkpoint) -> str:
    if checkpoint.generation == "2.5":
        return "Set `text_encoder` to the text encoder file of the LTX-2.5 pack."
    return "Set `text_encoder` to the folder that this checkpoint was trained with: Gemma 3 12B for LTX-2.0 and 2.3."


LAYERS = "layers."
TEMPORARIES = 1.5
"""Of a pack's hidden states, for what a layer and the features make beside them."""


def must_stream(path: Path, free_bytes: int, *, dtype: "torch.dtype", int8: bool, pack_tokens: int) -> bool:
    """Return whether the weights and the work on a pack take more than what the device has left."""
    return needed_bytes(path, item_bytes=dtype.itemsize, int8=int8, pack_tokens=pack_tokens) > free_bytes


def needed_bytes(path: Path, *, item_bytes: int, int8: bool, pack_tokens: int) -> int:
    """Return what an encoder takes on its device when nothing is streamed: weights, all hidden states, temporaries.

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
