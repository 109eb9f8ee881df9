"""From hidden states to features: what is stored for a caption, valid tokens only."""

import math
from collections.abc import Iterator, Sequence

import torch

from ltx_core.checkpoint.text_projection import TextProjection
from ltx_core.pool.transfer import Arriving, one_behind, to_host
from ltx_core.text.fit import fits
from ltx_core.text.gemma import TextEncoder
from ltx_core.text.packing import PACK_TOKENS, Pack, pack_captions

__all__ = ["embed_captions", "embed_text", "fits", "text_features"]

EPSILON = 1e-6


def embed_captions(
    encoder: TextEncoder,
    projection: TextProjection,
    captions: Sequence[Sequence[int]],
    *,
    pack_tokens: int = PACK_TOKENS,
) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """(place, features) of each caption, given by its token ids; shortest first, in bfloat16 on the CPU as stored.

    See `text_features` for names and shapes, and `ltx_core.text.packing` for why they do not depend on the other
    captions. While one pack's features are given, the next pack is computed.
    """

    ordered = columns_by_layer(projection, encoder.num_layers)

    def launch(pack: Pack) -> Arriving:
        made = {}
        for place, states in zip(pack.captions, encoder.packed_states(captions, pack), strict=True):
            for name, value in text_features(ordered, states, by_layer=True).items():
                made[place, name] = value.to(torch.bfloat16)
        return to_host(made)

    for pack, made in one_behind(pack_captions([len(ids) for ids in captions], pack_tokens), launch):
        features: dict[int, dict[str, torch.Tensor]] = {place: {} for place in pack.captions}
        for (place, name), value in made.items():
            features[place][name] = value
        yield from features.items()


def embed_text(encoder: TextEncoder, projection: TextProjection, text: str) -> dict[str, torch.Tensor]:
    """Features of one caption, as `embed_captions` gives them."""
    ((_, features),) = embed_captions(encoder, projection, [encoder.token_ids(text)])
    return features


@torch.no_grad()
def text_features(
    projection: TextProjection, hidden_states: torch.Tensor, *, by_layer: bool = False
) -> dict[str, torch.Tensor]:
    """Normalise and project the hidden states [S, D, L+1] of one caption's valid tokens.

    2.0: `features` [S, D], used by both streams. 2.3 and later: `video_features` and `audio_features`, each scaled by
    sqrt(width / D) before its map. Lightricks' formulas, computed in float32 and mapped in the weights' dtype.
    `by_layer`: the projection is of `columns_by_layer`.
    """
    states = hidden_states.float()
    if not projection.per_token_norm:
        return {"features": _mapped(projection.video, _caption_norm(states), by_layer)}
    assert projection.audio is not None  # load_text_projection saw to it
    states = states * torch.rsqrt(states.square().mean(dim=1, keepdim=True) + EPSILON)
    return {
        name: _mapped(linear, states * math.sqrt(linear.out_features / states.shape[1]), by_layer)
        for name, linear in (("video_features", projection.video), ("audio_features", projection.audio))
    }


@torch.no_grad()
def columns_by_layer(projection: TextProjection, num_layers: int) -> TextProjection:
    """The same maps for states whose layers follow one another in memory, and not the values of one channel.

    Layers are then copied in whole rows where they would be interleaved; sums have another order, to rounding the same.
    """

    def reordered(linear: torch.nn.Linear) -> torch.nn.Linear:
        columns = linear.weight.unflatten(1, (-1, num_layers)).transpose(1, 2).flatten(1)
        result = torch.nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
        result.weight, result.bias = torch.nn.Parameter(columns, requires_grad=False), linear.bias
        return result

    audio = None if projection.audio is None else reordered(projection.audio)
    return TextProjection(reordered(projection.video), audio, per_token_norm=projection.per_token_norm)


def _caption_norm(states: torch.Tensor) -> torch.Tensor:
    """8 (x - mean) / (max - min), each layer over all valid tokens of the caption."""
    count = states.shape[0] * states.shape[1]
    mean = states.sum(dim=(0, 1), keepdim=True) / (count + EPSILON)
    span = states.amax(dim=(0, 1), keepdim=True) - states.amin(dim=(0, 1), keepdim=True)
    return 8 * (states - mean) / (span + EPSILON)


def _mapped(linear: torch.nn.Linear, states: torch.Tensor, by_layer: bool) -> torch.Tensor:
    columns = states.transpose(1, 2) if by_layer else states
    return linear(columns.flatten(1).to(linear.weight))
