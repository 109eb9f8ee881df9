"""Squared error of the velocity, over the tokens and the samples that carry a loss and no others."""

import torch

from ltx_core.errors import ShapeError


def sample_losses(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each sample over its weighted tokens: [B, T, C], [B, T, C], weight [B, T] -> [B].

    A sample without a weighted token gives exactly 0 with zero gradient; whoever averages must leave it out.

    Raises:
        ShapeError: the shapes do not go together.
    """
    if prediction.shape != target.shape or weight.shape != prediction.shape[:2]:
        raise ShapeError(
            f"prediction is {list(prediction.shape)}, target {list(target.shape)}, weight {list(weight.shape)}; wanted "
            f"are two equal [B, T, C] and a weight of [B, T]"
        )
    by_token = (prediction.float() - target.float()).square().mean(dim=2)
    weight = weight.float()
    by_token = torch.where(weight > 0, by_token * weight, torch.zeros_like(by_token))  # 0 * nan would be nan
    return by_token.sum(dim=1) / weight.sum(dim=1).clamp(min=1e-8)


def carries_loss(weight: torch.Tensor) -> torch.Tensor:
    """Which samples have a weighted token: [B, T] -> bool [B]."""
    return (weight > 0).any(dim=1)
