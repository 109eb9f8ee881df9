"""Which noise levels are trained on: a logit-normal, shifted by how many tokens the sample has.

More tokens carry more redundancy, so the same sigma destroys less; the shift moves the draw to higher noise. The law
is that of Lightricks' trainer, so that a LoRA sees the noise levels its base model saw.
"""

import math
from typing import NamedTuple

import torch

BASE_SHIFT, MAX_SHIFT = 0.95, 2.05
BASE_TOKENS, MAX_TOKENS = 1024, 4096
LOW_QUANTILE, HIGH_QUANTILE = -2.5758, 3.0902
"""Standard normal quantiles at 0.5 % and 99.9 %, which the stretch maps onto 0 and 1."""
SMALLEST_SIGMA = 1e-3
UNIFORM_SHARE = 0.1
"""Share of draws that are uniform instead, so that no noise level is left out."""


class SigmaDraws(NamedTuple):
    """The random numbers behind sigmas, all [B]; apart from the law, so that the law is a pure function."""

    normal: torch.Tensor
    """Standard normal."""
    uniform: torch.Tensor
    """In [0, 1): the noise level where the draw is uniform."""
    choice: torch.Tensor
    """In [0, 1): below `UNIFORM_SHARE` the draw is uniform."""

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
    uniform = SMALLEST_SIGMA + (1 - SMALLEST_SIGMA) * draws.uniform
    return torch.where(draws.choice < UNIFORM_SHARE, uniform, reflected).float()


def fixed_sigmas(count: int) -> list[float]:
    """Noise levels for the eval loss: midpoints of `count` equal parts of [0, 1], so that none is an end."""
    return [(i + 0.5) / count for i in range(count)]
