"""Attention of the blocks: query, key and value projected together, and rotary positions in one pass.

diffusers writes the two halves of a rotated vector one after the other into a copy. Compiled, that is a chain of whole
copies which PyTorch's partitioner never recomputes, so queries and keys are kept twice for the backward: before and
after. Here every value is one expression of the two values it is rotated from.
"""

from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2PerturbedAttnProcessor
from torch.nn import functional

from ltx_core.engine.projection import project, project_together

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines, float32: [B, H, T, d/2] (split) or [B, T, H*d] (interleaved)."""


def rotate_split(tokens: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """[B, T, H*d] in its dtype, computed in float32; value i of a head turns with value i + d/2."""
    cos, sin = (table.unsqueeze(-2) for table in rotary)  # [B, H, T, 1, d/2]
    batch, heads, length, _, half = cos.shape
    pairs = tokens.view(batch, length, heads, 2, half).transpose(1, 2).float()  # [B, H, T, 2, d/2]
    turned = pairs * cos + _other(pairs, dim=-2) * sin
    return turned.transpose(1, 2).reshape(tokens.shape).to(tokens.dtype)


def rotate_interleaved(tokens: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """[B, T, H*d] in its dtype, computed in float32; values 2i and 2i + 1 turn together."""
    cos, sin = (table.unflatten(-1, (-1, 2)) for table in rotary)  # [B, T, H*d/2, 2]
    pairs = tokens.unflatten(-1, (-1, 2)).float()
    turned = pairs * cos + _other(pairs, dim=-1) * sin
    return turned.flatten(-2).to(tokens.dtype)


def _other(pairs: torch.Tensor, dim: int) -> torch.Tensor:
    """For (a, b) along `dim`: (-b, a), what the sine multiplies."""
    first, second = (part.expand_as(pairs) for part in pairs.split(1, dim))
    is_first = torch.arange(2, device=pairs.device).view(-1, *(1,) * (-1 - dim)) == 0
    return torch.where(is_first, -second, first)


class FusedAttnProcessor:
    """Equals diffusers' processors but for rounding: projections that share an input read it once.

    With a perturbation (STG) diffusers' own processor answers: it is for sampling, where this gains nothing.
    """

    def __init__(self) -> None:
        self._perturbed = LTX2PerturbedAttnProcessor()

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        query_rotary_emb: Rotary | None = None,
        key_rotary_emb: Rotary | None = None,
        *,
        perturbation_mask: torch.Tensor | None = None,
        all_perturbed: bool | None = None,
    ) -> torch.Tensor:
        """[B, T, D] attended to itself or to `encoder_hidden_states` [B, S, D']."""
        if attention_mask is not None or perturbation_mask is not None or all_perturbed:
            return self._perturbed(
                attn,
                hidden_states,
                encoder_hidden_states,
                attention_mask,
                query_rotary_emb,
                key_rotary_emb,
                perturbation_mask=perturbation_mask,
                all_perturbed=all_perturbed,
            )
        query, key, value = _project(attn, hidden_states, encoder_hidden_states)
        query, key = attn.norm_q(query), attn.norm_k(key)
        if query_rotary_emb is not None:
            query = _rotate(attn, query, query_rotary_emb)
            key = _rotate(attn, key, query_rotary_emb if key_rotary_emb is None else key_rotary_emb)
        query, key, value = (_heads(attn, part) for part in (query, key, value))
        attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        if attn.to_gate_logits is not None:
            attended = attended * (2.0 * torch.sigmoid(attn.to_gate_logits(hidden_states))).unsqueeze(-1)
        return project(attn.to_out[0], attended.flatten(2))


def _project(
    attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if encoder_hidden_states is None:
        query, key, value = project_together((attn.to_q, attn.to_k, attn.to_v), hidden_states)
        return query, key, value
    key, value = project_together((attn.to_k, attn.to_v), encoder_hidden_states)
    return project(attn.to_q, hidden_states), key, value


def _heads(attn: Any, tokens: torch.Tensor) -> torch.Tensor:
    """[B, T, H*d] to [B, H, T, d]."""
    return tokens.unflatten(2, (attn.heads, -1)).transpose(1, 2)


def _rotate(attn: Any, tokens: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    return (rotate_interleaved if attn.rope_type == "interleaved" else rotate_split)(tokens, rotary)
