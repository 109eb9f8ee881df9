"""Rotary position embedding in one pass over the tokens, made of operations that a compiler fuses and recomputes.

diffusers writes the two halves of a rotated vector one after the other into a copy. Compiled, that is a chain of whole
copies which PyTorch's partitioner never recomputes, so queries and keys are kept twice for the backward: before and
after. Here every value is one expression of the two values it is rotated from.
"""

import torch

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
