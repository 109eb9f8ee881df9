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


class JointNorms(NamedTuple):
    """Gradient norms where they were computed, perhaps still to come."""

    names: tuple[str, ...]
    values: torch.Tensor
    """[len(names)], float32."""


def grad_norms(parameters: Mapping[str, torch.nn.Parameter]) -> JointNorms:
    """Joint gradient norm of `all`, of each stream's adapters (`video`, `audio`, `cross`), of `crepa`'s projector."""
    groups: dict[str, list[torch.Tensor]] = {}
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            groups.setdefault("crepa" if name.startswith(PREFIX) else stream_of(name), []).append(parameter.grad)
    norms = {group: torch._foreach_norm(found, 2, torch.float32) for group, found in groups.items()}
    joint = [torch.linalg.vector_norm(torch.stack(list(parts))) for parts in norms.values()]
    return JointNorms(("all", *norms), torch.stack([torch.linalg.vector_norm(torch.stack(joint)), *joint]))


def update(
    optimizer: Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    joint: JointNorms,
    *,
    learning_rate: float,
    max_grad_norm: float,
    clip_ids: Sequence[str],
) -> dict[str, float]:
    """Clip the gradients, take the optimizer step, drop the gradients. Gives the norms before clipping.

    Raises:
        DataError: a gradient is not finite; names the clips of the step. No weight has been changed.
    """
    norms = dict(zip(joint.names, joint.values.tolist(), strict=True))
    if not all(math.isfinite(norm) for norm in norms.values()):
        raise DataError(
            f"gradients are not finite ({norms}) after clips {list(clip_ids)}; the step was not taken. Look at these "
            f"clips, or lower learning_rate; the last checkpoint is whole."
        )
    shrink = (max_grad_norm / (joint.values[joint.names.index("all")] + 1e-6)).clamp(max=1.0)
    for gradients in pieces([p.grad for p in parameters.values() if p.grad is not None]):
        gradients.mul_(shrink)
    optimizer.step(learning_rate)
    for parameter in parameters.values():
        parameter.grad = None
    return dict(sorted(norms.items()))
