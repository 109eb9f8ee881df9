"""Attention as diffusers' LTX-2 blocks ask for it, with query, key and value projected together."""

from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2PerturbedAttnProcessor
from torch.nn import functional

from ltx_core.engine.projection import project, project_together
from ltx_core.engine.rotary import Rotary, rotate_interleaved, rotate_split


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
