"""CREPA: hidden states of the video beside a vision encoder's features of the clip's own frames and their neighbours.

Cross-frame representation alignment (Hwang et al. 2025, arXiv 2506.09229), after REPA (Yu et al. 2024, arXiv
2410.06940). A small projector, trained with the adapter and thrown away afterwards, maps the states to the features'
width. With s(f, g) the mean over the tokens of latent frame f of the cosine between a token's projected state and the
features at its place in frame g, a frame's score is

    s(f, f) + sum over d of exp(-d / tau) * (s(f, f - d) + s(f, f + d))

with neighbours beyond the clip's ends left out; a clip's score is the mean over its frames.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ltx_core.errors import ShapeError
from ltx_core.flow_matching.random import named_generator
from ltx_core.training.crepa_settings import CrepaSettings

PREFIX = "crepa_projector."
"""Of the projector's parameters: no layer of a transformer is called so, and no LoRA file has them."""
NORM_EPSILON = 1e-5
TINY = 1e-8


class Alignment(NamedTuple):
    """By sample, [B]."""

    score: Tensor
    """With neighbours: what the loss takes down."""
    self_similarity: Tensor
    """s(f, f) alone, mean over frames: a cosine from -1 to 1."""


@dataclass(frozen=True)
class Crepa:
    """What a forward needs for it."""

    settings: CrepaSettings
    projector: Mapping[str, torch.nn.Parameter]
    """As `make_projector` gives it."""


def make_projector(width: int, features: int, *, seed: int, device: str) -> dict[str, torch.nn.Parameter]:
    """A layer norm over hidden states of `width` and a linear layer to `features`, in float32, as PyTorch starts them;
    drawn from the seed alone."""
    bound = 1 / math.sqrt(width)

    def uniform(name: str, *shape: int) -> Tensor:
        return (torch.rand(*shape, generator=named_generator("crepa", seed, name)) * 2 - 1) * bound

    start = {
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
        "linear.weight": uniform("weight", features, width),
        "linear.bias": uniform("bias", features),
    }
    return {PREFIX + name: torch.nn.Parameter(tensor.to(device)) for name, tensor in start.items()}


def project(projector: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
    """[B, T, D] in any dtype to [B, T, features] in float32, whatever the optimizer keeps the weights in."""
    weights = {name.removeprefix(PREFIX): parameter.float() for name, parameter in projector.items()}
    norm = weights["norm.weight"], weights["norm.bias"]
    normed = functional.layer_norm(hidden.float(), hidden.shape[-1:], *norm, NORM_EPSILON)
    return functional.linear(normed, weights["linear.weight"], weights["linear.bias"])


def batch_alignment(
    crepa: Crepa, hidden: Tensor, features: Tensor, weight: Tensor, kept: Tensor | None = None
) -> Alignment:
    """Alignment of tapped states [B, T, D] with features [B, F, P, D'] where T = F * P.

    `weight`, [B, T], is that of the loss: tokens that are given, a first frame or a prefix, are asked nothing, so they
    count neither as states nor among the frames that are averaged. Their features do count, as those of a neighbour.
    Within a route, `kept`, [B, K], says which tokens `hidden`, [B, K, D], holds: those are compared, each with the
    features of its own place, and no others.

    Raises:
        ShapeError: the features are not as many as the tokens.
    """
    size, frames, places, _ = features.shape
    if weight.shape != (size, frames * places):
        raise ShapeError(
            f"features {list(features.shape)} do not fit {list(weight.shape)} video tokens; [B, F, P, D] is wanted "
            f"with F * P tokens. Embed the frames again."
        )
    states = project(crepa.projector, hidden)
    if kept is not None:
        index = kept[:, :, None].expand_as(states)
        states = states.new_zeros(size, frames * places, states.shape[-1]).scatter(1, index, states)
        weight = weight * torch.zeros_like(weight).scatter(1, kept, 1.0)
    cut = (frames, places)
    return alignment(states.unflatten(1, cut), features.float(), weight.float().unflatten(1, cut), crepa.settings)


def alignment(states: Tensor, features: Tensor, weight: Tensor, settings: CrepaSettings) -> Alignment:
    """Scores of states [B, F, P, D] and features of the same shape; `weight` [B, F, P] is 0 for tokens left out.

    A clip without any weighted token scores exactly 0, with zero gradient.
    """
    if not settings.spatial_align:
        states, features = _mean(states, weight[..., None]).unsqueeze(2), features.mean(dim=2, keepdim=True)
        weight = weight.amax(dim=2, keepdim=True)
    states, features = (functional.normalize(x, dim=-1, eps=TINY) for x in (states, features))
    own = _similarity(states, features, weight)
    frames = own
    for distance in (d for d in settings.distances if d < states.shape[1]):
        decay = math.exp(-distance / settings.adjacent_tau)
        near, far = slice(None, -distance), slice(distance, None)
        later = _similarity(states[:, near], features[:, far], weight[:, near])
        earlier = _similarity(states[:, far], features[:, near], weight[:, far])
        frames = frames + decay * (functional.pad(later, (0, distance)) + functional.pad(earlier, (distance, 0)))
    counted = (weight > 0).any(dim=2).float()
    num_counted = counted.sum(dim=1).clamp(min=1)
    score = (frames * counted).sum(dim=1)
    return Alignment(
        score / num_counted if settings.normalize_by_frames else score, (own * counted).sum(dim=1) / num_counted
    )


def _similarity(states: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """Cosines of unit vectors [B, F, P, D], their weighted means over places: [B, F]."""
    return _mean((states * features).sum(dim=-1), weight)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over dimension 2; 0 where nothing has a weight."""
    return (values * weight).sum(dim=2) / weight.sum(dim=2).clamp(min=TINY)
