"""The straight path from data to noise: the noise levels, the noisy latents there, and the loss of the velocity.

More tokens carry more redundancy, so the same sigma destroys less; the shift moves the draw to higher noise. The law
is that of Lightricks' trainer, so that a LoRA sees the noise levels its base model saw.
"""

import math
from typing import NamedTuple

import torch

from ltx_core.errors import ShapeError

BASE_SHIFT, MAX_SHIFT = 0.95, 2.05
BASE_TOKENS, MAX_TOKENS = 1024, 4096
LOW_QUANTILE, HIGH_QUANTILE = -2.5758, 3.0902
"""Standard normal quantiles at 0.5 % and 99.9 %, which the stretch maps onto 0 and 1."""
SMALLEST_SIGMA = 1e-3
UNIFORM_FRACTION = 0.1
"""Fraction of draws that are uniform instead, so that no noise level is left out."""


class SigmaDraws(NamedTuple):
    """The random numbers behind sigmas, all [B]; apart from the law, so that the law is a pure function."""

    normal: torch.Tensor
    """Standard normal."""
    uniform: torch.Tensor
    """In [0, 1): the noise level where the draw is uniform."""
    choice: torch.Tensor
    """In [0, 1): below `UNIFORM_FRACTION` the draw is uniform."""

    @classmethod
    def draw(cls, generator: torch.Generator, count: int = 1) -> "SigmaDraws":
        return cls(
            torch.randn(count, generator=generator, dtype=torch.float64),
            torch.rand(count, generator=generator, dtype=torch.float64),
            torch.rand(count, generator=generator, dtype=torch.float64),
        )


def shift(num_tokens: int) -> float:
    """Mean of the normal under the logit: linear in the token count, not clamped at either side."""
    slope = (MAX_SHIFT - BASE_SHIFT) / (MAX_TOKENS - BASE_TOKENS)
    return BASE_SHIFT + slope * (num_tokens - BASE_TOKENS)


def shifted_logit_normal(draws: SigmaDraws, num_tokens: int) -> torch.Tensor:
    """Sigmas [B] in [`SMALLEST_SIGMA`, 1], float32, for samples of `num_tokens` tokens (source: ltx-trainer).

    The stretch makes the range reach both ends; without it many tokens would collapse onto 1.
    """
    mean = shift(num_tokens)
    low, high = (1 / (1 + math.exp(-(mean + quantile))) for quantile in (LOW_QUANTILE, HIGH_QUANTILE))
    stretched = (torch.sigmoid(draws.normal + mean) - low) / (high - low)
    reflected = torch.where(stretched < SMALLEST_SIGMA, 2 * SMALLEST_SIGMA - stretched, stretched).clamp(0, 1)
    return torch.where(draws.choice < UNIFORM_FRACTION, uniform(draws), reflected).float()


def uniform(draws: SigmaDraws) -> torch.Tensor:
    """Sigmas [B] in [`SMALLEST_SIGMA`, 1), float64, all alike."""
    return SMALLEST_SIGMA + (1 - SMALLEST_SIGMA) * draws.uniform


def logit_normal(draws: SigmaDraws, mean: float, std: float) -> torch.Tensor:
    """Sigmas [B] in [`SMALLEST_SIGMA`, 1], float64, whose logits are normal (Esser et al., arXiv 2403.03206, 3.1)."""
    return torch.sigmoid(mean + std * draws.normal).clamp(min=SMALLEST_SIGMA)


def fixed_sigmas(count: int) -> list[float]:
    """Noise levels for the eval loss: midpoints of `count` equal parts of [0, 1], so that none is an end."""
    return [(i + 0.5) / count for i in range(count)]


def draw_noise(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Standard normal noise, float32, on the CPU."""
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def add_noise(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """x_sigma = (1 - sigma) x + sigma n. Tokens [B, T, C], sigma [B] or, by token, [B, T].

    Source: Lipman et al., Flow Matching for Generative Modeling (arXiv 2210.02747), the optimal-transport path.

    Raises:
        ShapeError: the shapes do not go together.
    """
    if clean.shape != noise.shape or sigma.shape not in (clean.shape[:1], clean.shape[:2]):
        raise ShapeError(
            f"clean tokens are {list(clean.shape)}, noise {list(noise.shape)}, sigma {list(sigma.shape)}; wanted are "
            f"two equal [B, T, C] and a sigma of [B] or [B, T]"
        )
    level = sigma.float().reshape(*sigma.shape, *(1,) * (clean.ndim - sigma.ndim))
    return (1 - level) * clean.float() + level * noise.float()


def velocity_target(clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return what the model should say: d x_sigma / d sigma = n - x, in float32."""
    return noise.float() - clean.float()


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
    """Return which samples have a weighted token: [B, T] -> bool [B]."""
    return (weight > 0).any(dim=1)
