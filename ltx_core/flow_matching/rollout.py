"""Off the straight path: where a rollout starts, and which velocity leads from where it ends to the data."""

import torch
from torch import Tensor


def source_sigma(sigma: Tensor, offset: Tensor) -> Tensor:
    """Noise level [B] that a rollout to `sigma`, [B], starts from: `offset` more, but no more than is left, and 1.

    No more than is left, because the error of the way is made good over what is left: it enters the velocity target
    times offset / sigma, which at a small sigma would outweigh everything. Samplers hold to it too: of n equal steps
    each but the last is followed by at least its own length.
    """
    return torch.minimum(sigma + offset, 2 * sigma).clamp(max=1)


def on_straight_path(noisy: Tensor, velocity: Tensor, sigma: Tensor, at: Tensor) -> Tensor:
    """The state at noise level `at` on the straight path through `noisy` at `sigma`: [B, T, C] twice, [B] twice, or
    [B, 1 or T] where tokens differ."""
    return noisy + _for_tokens(at - sigma) * velocity


def target_off_path(straight: Tensor, drift: Tensor, sigma: Tensor) -> Tensor:
    """The velocity (x - x_0) / sigma from the data x_0 to a state x that is `drift` beside the straight path.

    One exact step of length sigma along it lands on the data, from wherever x is. On the straight path it is noise
    minus data, `straight`, to the bit; beside it, noise minus data would lead to a place as far beside the data and so
    would teach the model to keep its error. It is also the drift's rectification in Huang et al., ReflexFlow (arXiv
    2512.04904), whose direction alone they use. [B, T, C] twice, [B] or [B, 1 or T]; where sigma is 0 nothing may have
    drifted.
    """
    by = torch.where(sigma > 0, sigma, torch.ones_like(sigma))
    return straight + drift / _for_tokens(by)


def _for_tokens(levels: Tensor) -> Tensor:
    return levels.reshape(*levels.shape, *(1,) * (3 - levels.ndim))
