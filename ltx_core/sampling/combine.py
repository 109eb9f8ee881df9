"""How the predictions of several passes over one sample are combined into one.

Source of the formula: Lightricks' inference (its multi-modal guider), on predictions of x0.
"""

import torch
from torch import Tensor

from ltx_core.sampling.guidance import Pass, StreamGuidance


def combine(scales: StreamGuidance, x0: dict[Pass, Tensor]) -> Tensor:
    """The guided prediction of x0, [B, T, C].

    c + (cfg - 1)(c - unconditional) + stg (c - perturbed) + (modality - 1)(c - isolated), then scaled by
    rescale * std(c) / std(result) + 1 - rescale, with each sample's own standard deviations.

    Args:
        scales: this stream's scales.
        x0: prediction of each pass that was run, [B, T, C]; passes that this stream does not need are not looked at.
    """
    conditional = x0["conditional"]
    weights: dict[Pass, float] = {
        "unconditional": scales.cfg - 1,
        "perturbed": scales.stg,
        "isolated": scales.modality - 1,
    }
    guided = conditional
    for name in scales.passes():
        guided = guided + weights[name] * (conditional - x0[name])
    if not scales.rescale:
        return guided
    ratio = _spread(conditional) / _spread(guided).clamp(min=torch.finfo(guided.dtype).tiny)
    return guided * (scales.rescale * ratio + 1 - scales.rescale)


def _spread(tokens: Tensor) -> Tensor:
    return tokens.std(dim=(1, 2), keepdim=True)
