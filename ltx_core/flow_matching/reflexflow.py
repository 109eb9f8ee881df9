"""ReflexFlow's loss of states that the model reached itself (Huang et al. 2025, arXiv 2512.04904).

Its authors withdrew that text for revision and published the method as DEFAR (arXiv 2606.28226); two parts:

    anti-drift rectification   ADR = || v / ||v|| - d / ||d|| ||^2 with d = x - x_0, from the data to the drifted state
    frequency compensation     FC = mean over values of w (v - d / sigma)^2, w = (1 + alpha b / mean b) / (1 + alpha)

with the exposure bias b = |v - v_clean|, v_clean being predicted on the straight path; the loss of a sample is
beta1 ADR + beta2 FC. Norms and means are over the values of a sample that carry a loss, each as much as it counts. FC
is called so because its authors found b to hold the low frequencies that early denoising misses; it computes none.

What differs from the trainer whose alpha and betas these are (docs/guide.md): it divides b by its sum and not its mean,
so that the weights of a video's million values are 1 to six digits; b keeps its sign there, so that half of what is
spoilt counts less; and its velocity target is the straight path's, which ADR contradicts. Here both want one velocity.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_NORM = 1e-8


class ReflexLosses(NamedTuple):
    """The two parts, each [B]; 0 for a sample without a weighted token."""

    anti_drift: Tensor
    compensated: Tensor

    def detach(self) -> "ReflexLosses":
        """The values alone."""
        return ReflexLosses(self.anti_drift.detach(), self.compensated.detach())


def reflex_losses(prediction: Tensor, target: Tensor, weight: Tensor, clean: Tensor, *, alpha: float) -> ReflexLosses:
    """Both parts of the loss of velocities [B, T, C]; `weight`, [B, T], is what a token counts, 0 where it has no loss.

    `target` is the velocity (x - x_0) / sigma, whose direction is that of d. The bias is measured, not learnt from:
    no gradient goes through it.
    """
    counts = weight.float()[:, :, None]
    prediction, target = (torch.where(counts > 0, x.float(), 0.0) for x in (prediction, target))
    said, wanted = (
        functional.normalize((counts.sqrt() * x).flatten(1), dim=1, eps=SMALLEST_NORM) for x in (prediction, target)
    )
    anti_drift = (said - wanted).square().sum(dim=1)
    total = (counts.sum(dim=(1, 2)) * prediction.shape[2]).clamp(min=SMALLEST_NORM)
    bias = torch.where(counts > 0, prediction.detach() - clean.float(), 0.0).abs()
    mean = (counts * bias).sum(dim=(1, 2), keepdim=True) / total[:, None, None]
    relative = torch.where(mean > 0, bias / mean.clamp(min=SMALLEST_NORM), 1.0)
    emphasis = counts * (1 + alpha * relative) / (1 + alpha)
    compensated = (emphasis * (prediction - target).square()).sum(dim=(1, 2)) / total
    return ReflexLosses(anti_drift, compensated)
