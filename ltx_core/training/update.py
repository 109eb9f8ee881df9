"""From gradients to new weights: their norms, clipping, the optimizer's step."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from ltx_core.engine.adjacent import pieces
from ltx_core.errors import DataError
from ltx_core.lora.names import stream_of
from ltx_core.training.crepa import PREFIX
from ltx_core.training.optimizer import Optimizer

CREPA = "crepa"
"""The group of its projector, beside those of the streams."""


class JointNorms(NamedTuple):
    """Gradient norms where they were computed, perhaps still to come."""

    names: tuple[str, ...]
    values: torch.Tensor
    """[len(names)], float32."""


def grad_norms(parameters: Mapping[str, torch.nn.Parameter]) -> JointNorms:
    """Gradient norm of each stream's adapters (`video`, `audio`, `cross`), joint of `all` of these, and of `crepa`'s
    projector, which is no part of what is trained for and has nothing to do with how far that may go in a step."""
    groups: dict[str, list[torch.Tensor]] = {}
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            groups.setdefault(_group(name), []).append(parameter.grad)
    norms = {
        group: torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(found, 2, torch.float32))))
        for group, found in groups.items()
    }
    adapters = [norm for group, norm in norms.items() if group != CREPA]
    if not adapters:  # sound alone is trained, and the step has none
        adapters = [torch.zeros((), device=next(iter(parameters.values())).device)]
    return JointNorms(("all", *norms), torch.stack([torch.linalg.vector_norm(torch.stack(adapters)), *norms.values()]))


def _group(name: str) -> str:
    return CREPA if name.startswith(PREFIX) else stream_of(name)


def drop_sound_gradients(parameters: Mapping[str, torch.nn.Parameter]) -> None:
    """Drop what a step without sound left on the adapters of sound, and of the attention between the streams.

    Run eagerly they got nothing; a compiled block gives zeros, which are no gradient either, but would let the
    optimizer decay the weights and go on with its momentum.
    """
    for name, parameter in parameters.items():
        if _group(name) in ("audio", "cross"):
            parameter.grad = None


def update(
    optimizer: Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    joint: JointNorms,
    *,
    learning_rate: float,
    max_grad_norm: float,
    clip_ids: Sequence[str],
    share: float = 1.0,
) -> dict[str, float]:
    """Clip the gradients, take the optimizer step, drop the gradients. Gives the norms before clipping.

    The adapters are clipped by their joint norm, CREPA's projector by its own. `share`: how many clips the step has, of
    those of a full one. What is left of a step's mean after clipping counts so much, so that every clip weighs alike,
    whatever batch it falls into.

    Raises:
        DataError: a gradient is not finite; names the clips of the step. No weight has been changed.
    """
    norms = dict(zip(joint.names, joint.values.tolist(), strict=True))
    if not all(math.isfinite(norm) for norm in norms.values()):
        raise DataError(
            f"gradients are not finite ({norms}) after clips {list(clip_ids)}; the step was not taken. Look at these "
            f"clips, or lower learning_rate; the last checkpoint is whole."
        )
    for part, group in ((False, "all"), (True, CREPA)):
        gradients = [p.grad for name, p in parameters.items() if name.startswith(PREFIX) == part]
        if found := [gradient for gradient in gradients if gradient is not None]:
            shrink = (max_grad_norm / (joint.values[joint.names.index(group)] + 1e-6)).clamp(max=1.0) * share
            for piece in pieces(found):
                piece.mul_(shrink)
    optimizer.step(learning_rate)
    for parameter in parameters.values():
        parameter.grad = None
    return dict(sorted(norms.items()))
