"""Attention over a pack of captions: each sees itself alone; those of equal length are one batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

PACKED = "ltx2_packed_captions"
"""What transformers knows this attention by."""


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
